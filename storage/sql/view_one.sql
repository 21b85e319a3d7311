-- One version of one table; its parts have the same columns.
CREATE VIEW $view AS
SELECT *
FROM read_parquet($paths, hive_partitioning = false);
