import hashlib
import math
import random
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbpo_core.selection import NotChosen, Scored, Selection, sample_order, select

SQL = (Path(__file__).parents[2] / "storage" / "sql" / "selection.sql").read_text()


def by_sql(rows, *, seed, presample, k, key, dtype=None):
    dtype = dtype or pa.float64()
    scored = pa.table(
        {
            "position": pa.array(range(len(rows)), pa.int64()),
            "sample_id": pa.array([r.sample_id for r in rows], pa.string()),
            "closed": pa.array([r.closed for r in rows], pa.bool_()),
            "iig_mean": pa.array([r.iig_mean for r in rows], dtype),
            "iig_sum": pa.array([r.iig_sum for r in rows], dtype),
        }
    )
    with duckdb.connect() as connection:
        connection.register("scored", scored)
        found = connection.execute(
            SQL, {"seed": seed, "presample": presample, "k": k, "key": key}
        ).fetchall()
    assert sorted(position for position, *_ in found) == list(range(len(rows)))
    assert all(rows[position].sample_id == sample for position, sample, *_ in found)
    return {Selection(*row) for _, *row in found}


SCORES = st.one_of(
    st.none(),
    st.sampled_from([0.0, -0.0, 1.5, -1.5, 2.25, math.nan, math.inf, -math.inf]),
    st.floats(width=32),
)
ROWS = st.lists(
    st.builds(Scored, st.text(max_size=6).filter(lambda t: "\0" not in t), st.booleans(),
              SCORES, SCORES),
    unique_by=lambda row: row.sample_id, max_size=25,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    ROWS,
    st.integers(0, 2**31),
    st.none() | st.integers(0, 12),
    st.integers(0, 12),
    st.sampled_from(["iig_mean", "iig_sum", "low_iig_mean"]),
)
def test_the_query_gives_what_the_rule_gives(rows, seed, presample, k, key):
    settings = {"seed": seed, "presample": presample, "k": k, "key": key}
    expected = select(rows, **settings)
    assert set(expected) == by_sql(rows, **settings)
    assert [s.sample_id for s in expected] == [r.sample_id for r in rows]


def test_the_query_agrees_on_a_large_float32_table_with_ties():
    draw = random.Random(7)
    rows = [
        Scored(
            hashlib.sha256(str(i).encode()).hexdigest(),
            draw.random() < 0.1,
            draw.choice([None, math.nan, *(float(np.float32(draw.gauss(0, 1))) for _ in range(8)),
                         0.125, 0.25]),
            float(draw.randint(0, 20)),
        )
        for i in range(5000)
    ]  # fmt: skip
    for key in ("iig_mean", "iig_sum", "low_iig_mean"):
        settings = {"seed": 3, "presample": 2000, "k": 700, "key": key}
        expected = select(rows, **settings)
        assert set(expected) == by_sql(rows, **settings, dtype=pa.float32())
        assert sum(s.chosen for s in expected) == 700


def test_the_query_refuses_another_key():
    with pytest.raises(duckdb.Error, match="key must be"):
        by_sql([Scored("a", False, 1.0, 1.0)], seed=0, presample=1, k=1, key="length")


def test_each_row_says_why_it_was_not_chosen():
    ids = sorted("abcdef", key=lambda i: hashlib.sha256(f"5:{i}".encode()).hexdigest())
    rows = [Scored(ids[0], False, 1.0, 9.0), Scored(ids[1], False, None, None),
            Scored(ids[2], False, 2.0, 3.0), Scored(ids[3], False, math.nan, math.nan),
            Scored(ids[4], False, 99.0, 99.0), Scored(ids[5], True, 99.0, 99.0)]  # fmt: skip
    found = {s.sample_id: s for s in select(rows, seed=5, presample=4, k=1)}
    assert found[ids[0]] == Selection(ids[0], 2, False, NotChosen.BELOW_TOP_K)
    assert found[ids[1]] == Selection(ids[1], None, False, NotChosen.NO_SCORE)
    assert found[ids[2]] == Selection(ids[2], 1, True, None)
    assert found[ids[3]].reason is NotChosen.NO_SCORE
    assert found[ids[4]].reason is NotChosen.NOT_PRESAMPLED
    assert found[ids[5]].reason is NotChosen.CLOSED_ENDED
    by_sum = {s.sample_id: s for s in select(rows, seed=5, presample=4, k=1, key="iig_sum")}
    assert by_sum[ids[0]].chosen and not by_sum[ids[2]].chosen


def test_the_lowest_gains_are_the_other_end_of_the_same_ranking():
    rows = [Scored(str(i), False, gain, 0.0) for i, gain in enumerate((0.5, 2.0, -1.0, None))]
    settings = {"seed": 0, "presample": None, "k": 1}
    high, low = (select(rows, **settings, key=key) for key in ("iig_mean", "low_iig_mean"))
    assert [s.rank for s in high] == [2, 1, 3, None] and [s.rank for s in low] == [2, 3, 1, None]


def test_equal_scores_go_by_id():
    rows = [Scored(i, False, 0.5, 0.5) for i in ("c", "a", "b")]
    assert [s.rank for s in select(rows, seed=0, presample=None, k=2)] == [3, 1, 2]


@given(st.permutations([Scored(str(i), i % 3 == 0, i % 5 / 4, None) for i in range(12)]))
def test_the_order_of_the_input_does_not_matter(rows):
    settings = {"seed": 1, "presample": 5, "k": 3}
    assert set(select(rows, **settings)) == set(select(sorted(rows, key=repr), **settings))


def test_the_order_of_samples_is_that_of_the_hash():
    assert sample_order(3, "x") == hashlib.sha256(b"3:x").hexdigest()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"k": -1}, "negative"), ({"presample": -1}, "negative"), ({"key": "len"}, "key must be")],
)
def test_bad_settings_are_errors(change, message):
    with pytest.raises(ValueError, match=message):
        select([], **({"seed": 0, "presample": 1, "k": 1} | change))


def test_an_id_that_stands_twice_is_an_error():
    rows = [Scored("a", False, 1.0, 1.0), Scored("a", False, 2.0, 2.0)]
    with pytest.raises(ValueError, match="'a' stands twice"):
        select(rows, seed=0, presample=None, k=1)
