-- All that every version was made from, directly or not: a shortest way to each ancestor.
CREATE VIEW lineage AS
WITH RECURSIVE short AS (
    SELECT
        *,
        stage || '/' || left(key, 8) AS artifact,
        input_stage || '/' || left(input_key, 8) AS input
    FROM artifact_inputs
),
steps AS (
    SELECT
        stage, key, content, artifact,
        input_stage AS ancestor_stage,
        input_key AS ancestor_key,
        input_content AS ancestor_content,
        input AS ancestor,
        1 AS depth,
        artifact || ' < ' || input AS path
    FROM short
    UNION
    SELECT
        s.stage, s.key, s.content, s.artifact,
        n.input_stage, n.input_key, n.input_content, n.input,
        s.depth + 1,
        s.path || ' < ' || n.input
    FROM steps AS s
    JOIN short AS n
        ON n.stage = s.ancestor_stage
        AND n.key = s.ancestor_key
        AND n.content = s.ancestor_content
)
SELECT
    artifact,
    min(depth) AS depth,
    ancestor,
    arg_min(path, (depth, path)) AS path,
    (ancestor_stage, ancestor_key, ancestor_content) IN (
        SELECT (stage, key, content) FROM artifacts
    ) AS in_store,
    stage, key, content, ancestor_stage, ancestor_key, ancestor_content
FROM steps
GROUP BY ALL;
