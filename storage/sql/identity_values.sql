-- The leaves of every identity under dotted names; a list is one value.
CREATE VIEW identity_values AS
SELECT
    stage,
    key,
    replace(fullkey[3:], '"', '') AS name,
    coalesce(atom, json) AS value
FROM (
    SELECT i.stage, i.key, t.fullkey, t.path, t.type, t.atom, t.value AS json
    FROM identities AS i, json_tree(i.identity) AS t
)
WHERE (type <> 'OBJECT' OR json = '{}') AND path NOT LIKE '%[%';
