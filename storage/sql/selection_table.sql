-- The table `selection`, in the order of the samples.
--
-- Reads   scored (as selection.sql does, with `position`), selected (what selection.sql gives)
-- Takes   $key
SELECT
    scored.sample_id,
    chosen,
    CAST(rank AS INTEGER) AS rank,
    CAST($key AS VARCHAR) AS key,
    CASE
        WHEN $key IN ('iig_mean', 'low_iig_mean') THEN iig_mean
        WHEN $key = 'iig_sum' THEN iig_sum
    END AS value,
    reason
FROM scored JOIN selected USING (position)
ORDER BY position
