import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.packs import plan_packs, run_packs


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 200))
def test_packs_hold_every_row_once_within_the_budget(lengths, budget):
    packs = plan_packs(lengths, budget)
    assert sorted(row for pack in packs for row in pack) == list(range(len(lengths)))
    for pack in packs:
        padded = len(pack) * max(lengths[row] for row in pack)
        assert padded <= budget or len(pack) == 1


def test_rows_of_like_length_stand_together():
    assert plan_packs([50, 3, 49, 4], 100) == [[1, 3], [2, 0]]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60)), max_size=40), st.integers(1, 200))
def test_rows_of_one_kind_stand_together(rows, budget):
    kinds, lengths = [kind for kind, _ in rows], [length for _, length in rows]
    packs = plan_packs(lengths, budget, kinds)
    order = [row for pack in packs for row in pack]
    assert sorted(order) == list(range(len(rows)))
    assert [kinds[row] for row in order] == sorted(kinds)
    for pack in packs:
        assert len(pack) * max(lengths[row] for row in pack) <= budget or len(pack) == 1


def test_results_come_back_in_the_order_of_the_rows():
    rows = ["ccc", "a", "bb", "dddd"]
    found, splits = run_packs(rows, [3, 1, 2, 4], 4, lambda pack: [r.upper() for r in pack], str)
    assert (found, splits) == (["CCC", "A", "BB", "DDDD"], 0)


def test_a_pack_that_does_not_fit_is_halved_and_a_row_that_does_not_fit_is_refused():
    seen = []

    def run(pack):
        seen.append(len(pack))
        if len(pack) > 2 or "huge" in pack:
            raise torch.OutOfMemoryError("too much")
        return [f"done {row}" for row in pack]

    rows = ["a", "b", "c", "d", "huge"]
    found, splits = run_packs(rows, [1] * 5, 100, run, lambda row: f"refused {row}")
    assert found == ["done a", "done b", "done c", "done d", "refused huge"]
    assert splits >= 2 and max(seen) == 5


def test_other_errors_are_not_swallowed():
    def run(pack):
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        run_packs(["a"], [1], 10, run, str)
