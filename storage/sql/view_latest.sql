SELECT $recipe AS $recipe_name, $key AS $key_name, *
FROM read_parquet($paths, hive_partitioning = false)
