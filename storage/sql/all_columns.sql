-- Every column of every table and view of the catalogue.
SELECT table_name, column_name
FROM duckdb_columns()
WHERE database_name = 'catalog' AND NOT internal
ORDER BY table_name, column_index;
