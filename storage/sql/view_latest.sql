SELECT $recipe AS $recipe_name, $key AS $key_name, *
FROM read_parquet($paths, union_by_name = true, hive_partitioning = false)
