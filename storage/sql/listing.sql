-- Tables and views by name, but for those of single versions and of all.
SELECT
    v.name AS view,
    v.comment AS "a row is",
    string_agg(c.column_name, ', ' ORDER BY c.column_index) AS columns
FROM (
    SELECT view_name AS name, comment FROM duckdb_views()
    WHERE database_name = 'catalog' AND NOT internal
    UNION ALL
    SELECT table_name, comment FROM duckdb_tables() WHERE database_name = 'catalog'
) AS v
JOIN duckdb_columns() AS c ON c.table_name = v.name AND c.database_name = 'catalog'
WHERE NOT contains(v.name, '__') AND NOT regexp_matches(v.name, '_(all|latest)$')
GROUP BY ALL
ORDER BY view;
