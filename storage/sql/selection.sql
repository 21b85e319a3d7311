-- Random pre-selection of open-ended samples, then top k by score: one row for every input row.
--
-- Reads   scored(position BIGINT, sample_id VARCHAR, closed BOOLEAN, iig_mean FLOAT|DOUBLE,
--         iig_sum FLOAT|DOUBLE); no two rows have the same position
-- Takes   $seed, $presample (NULL = all), $k (NULL = all), $key ('iig_mean', 'iig_sum',
--         'low_iig_mean' = smallest first, or NULL = in the order of the draw, scored or not)
-- Gives   position, sample_id, rank, chosen, reason, in no order
--
-- Only what is drawn is sorted, and no wide row is: at a million rows that is half of the time. Rows
-- are joined by position: an id has 64 characters.
WITH keyed AS (
    SELECT
        position,
        sample_id,
        closed,
        CASE
            WHEN $key IS NULL THEN 0.0
            WHEN $key = 'iig_mean' THEN CAST(iig_mean AS DOUBLE)
            WHEN $key = 'iig_sum' THEN CAST(iig_sum AS DOUBLE)
            WHEN $key = 'low_iig_mean' THEN -CAST(iig_mean AS DOUBLE)
            ELSE error('key must be iig_mean, iig_sum or low_iig_mean')
        END AS score
    FROM scored
),
drawn AS (
    SELECT position
    FROM keyed
    WHERE NOT closed AND $presample IS NOT NULL
    ORDER BY sha256(CAST($seed AS VARCHAR) || ':' || sample_id), sample_id
    LIMIT coalesce(CAST($presample AS BIGINT), 0)
),
presampled AS (
    SELECT position, sample_id, score
    FROM keyed
    WHERE NOT closed AND ($presample IS NULL OR position IN (SELECT position FROM drawn))
),
ranked AS (
    SELECT
        position,
        CASE WHEN isfinite(score) THEN
            row_number() OVER (
                ORDER BY
                    isfinite(score) DESC NULLS LAST,
                    score DESC,
                    CASE WHEN $key IS NULL
                        THEN sha256(CAST($seed AS VARCHAR) || ':' || sample_id)
                    END,
                    sample_id
            )
        END AS rank
    FROM presampled
)
SELECT
    position,
    sample_id,
    rank,
    rank IS NOT NULL AND ($k IS NULL OR rank <= CAST($k AS BIGINT)) AS chosen,
    CASE
        WHEN closed THEN 'closed_ended'
        WHEN ranked.position IS NULL THEN 'not_presampled'
        WHEN rank IS NULL THEN 'no_score'
        WHEN rank > CAST($k AS BIGINT) THEN 'below_top_k'
    END AS reason
FROM keyed LEFT JOIN ranked USING (position)
