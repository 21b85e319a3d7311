-- One version of one table.
CREATE VIEW $view AS
SELECT *
FROM read_parquet($paths, union_by_name = true, hive_partitioning = false);
