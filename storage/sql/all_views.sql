SELECT view_name FROM duckdb_views() WHERE database_name = 'catalog' AND NOT internal;
