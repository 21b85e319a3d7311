"""The whole table `selection`: the rule row by row, in the order of the samples."""

import math
import random

import pyarrow as pa

from mbpo_core.selection import Scored, select
from storage.selection import selection_table


def test_the_table_is_what_the_rule_gives_in_the_order_of_the_samples():
    draw = random.Random(1)
    rows = [
        Scored(
            f"s{draw.random()}", draw.random() < 0.3,
            draw.choice([None, math.nan, 0.5, draw.gauss(0, 1)]), draw.gauss(0, 9),
        )
        for _ in range(400)
    ]  # fmt: skip
    samples = pa.table(
        {"sample_id": [r.sample_id for r in rows], "closed": [r.closed for r in rows]}
    )
    shuffled = draw.sample(rows, len(rows))
    scores = pa.table({
        "sample_id": [r.sample_id for r in shuffled],
        "iig_mean": pa.array([r.iig_mean for r in shuffled], pa.float64(), from_pandas=False),
        "iig_sum": [r.iig_sum for r in shuffled],
    })  # fmt: skip
    for key in ("iig_mean", "iig_sum", "low_iig_mean", None):
        for presample, k in ((None, 30), (0, 30), (100, 30), (10_000, 30), (100, None)):
            rule = {"seed": 4, "presample": presample, "k": k, "key": key}
            found = selection_table(samples, scores, **rule).to_pylist()
            expected = [
                {"sample_id": s.sample_id, "chosen": s.chosen, "rank": s.rank, "key": key,
                 "value": getattr(row, key.removeprefix("low_")) if key else None,
                 "reason": s.reason}
                for s, row in zip(select(rows, **rule), rows, strict=True)
            ]  # fmt: skip
            assert [_plain(row) for row in found] == [_plain(row) for row in expected]


def _plain(row):
    """NaN equals nothing, itself neither."""
    value = row["value"]
    return row | {"value": "nan" if value is not None and math.isnan(value) else value}
