-- Whether a version of this table (views named <table>__<key8>) has a column of these names.
SELECT column_name
FROM duckdb_columns()
WHERE starts_with(table_name, ?) AND lower(column_name) IN ('key', 'content')
LIMIT 1;
