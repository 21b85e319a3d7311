-- Random pre-selection of open-ended samples, then top k by score: one row for every input row.
--
-- Reads   scored(sample_id VARCHAR, closed BOOLEAN, iig_mean FLOAT|DOUBLE, iig_sum FLOAT|DOUBLE)
-- Takes   $seed, $presample (NULL = all), $k, $key ('iig_mean' or 'iig_sum')
-- Gives   sample_id, rank, chosen, reason
WITH keyed AS (
    SELECT
        sample_id,
        closed,
        CASE $key
            WHEN 'iig_mean' THEN CAST(iig_mean AS DOUBLE)
            WHEN 'iig_sum' THEN CAST(iig_sum AS DOUBLE)
            ELSE error('key must be iig_mean or iig_sum')
        END AS score
    FROM scored
),
drawn AS (
    SELECT
        sample_id,
        closed,
        CASE WHEN isfinite(score) THEN score END AS score,
        NOT closed
        AND row_number() OVER (
            PARTITION BY closed
            ORDER BY sha256(CAST($seed AS VARCHAR) || ':' || sample_id), sample_id
        ) <= coalesce(CAST($presample AS BIGINT), 9223372036854775807) AS presampled
    FROM keyed
),
ranked AS (
    SELECT
        *,
        CASE WHEN presampled AND score IS NOT NULL THEN
            row_number() OVER (
                PARTITION BY presampled AND score IS NOT NULL
                ORDER BY score DESC, sample_id
            )
        END AS rank
    FROM drawn
)
SELECT
    sample_id,
    rank,
    rank IS NOT NULL AND rank <= CAST($k AS BIGINT) AS chosen,
    CASE
        WHEN closed THEN 'closed_ended'
        WHEN NOT presampled THEN 'not_presampled'
        WHEN rank IS NULL THEN 'no_score'
        WHEN rank > CAST($k AS BIGINT) THEN 'below_top_k'
    END AS reason
FROM ranked
ORDER BY rank NULLS LAST, sample_id
