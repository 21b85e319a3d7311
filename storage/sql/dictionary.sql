-- Every column with its type and meaning; not those of single versions.
SELECT table_name AS view, column_name AS "column", data_type AS type, comment
FROM duckdb_columns()
WHERE database_name = 'catalog' AND NOT internal AND NOT contains(table_name, '__')
ORDER BY table_name, column_index;
