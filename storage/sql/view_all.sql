-- Every version of one table, told apart by the name of the directory, <key>.<content>.
CREATE VIEW $view AS
SELECT
    split_part(parse_path("_part_path")[-2], '.', 1) AS $key,
    split_part(parse_path("_part_path")[-2], '.', 2) AS $content,
    * EXCLUDE ("_part_path")
FROM read_parquet(
    $paths, union_by_name = true, hive_partitioning = false, filename = '_part_path'
);
