import gc
import uuid
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import DamagedArtifact
from tasks.packs import PackLog, plan_packs, run_packs


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


@pytest.fixture
def log():
    return PackLog(f"test {uuid.uuid4()}")  # the ceiling of a purpose lives as long as the process


def refused(row, reason):
    return f"{row}: {reason}"


def test_results_come_back_in_the_order_of_the_rows(log):
    rows = ["ccc", "a", "bb", "dddd"]
    found = run_packs(rows, [3, 1, 2, 4], 4, lambda pack: [r.upper() for r in pack], refused, log)
    assert found == ["CCC", "A", "BB", "DDDD"]
    assert log.facts() == {"packs_split": 0, "memory_ceiling": None}


def test_a_pack_that_does_not_fit_is_halved_and_a_row_that_does_not_fit_is_refused(log):
    seen = []

    def run(pack):
        seen.append(len(pack))
        if len(pack) > 2 or "huge" in pack:
            raise torch.OutOfMemoryError("too much")
        return [f"done {row}" for row in pack]

    rows = ["a", "b", "c", "d", "huge"]
    found = run_packs(rows, [1] * 5, 100, run, refused, log)
    assert found == ["done a", "done b", "done c", "done d", "huge: out_of_memory"]
    assert log.split >= 2 and max(seen) == 5


def test_what_once_did_not_fit_is_split_before_it_is_tried_in_later_shards_too(log):
    sizes = []

    def run(pack):
        sizes.append(sum(pack))
        if sum(pack) > 30:
            raise torch.OutOfMemoryError("too much")
        return [-n for n in pack]

    first = run_packs([10] * 16, [10] * 16, 80, run, refused, log)
    tried, sizes[:] = list(sizes), []
    assert max(tried) == 80 and log.ceiling == 40
    assert [size for size in tried if size > 30] == [80, 40]  # each failing size once
    later = PackLog(log.purpose)
    assert run_packs([10] * 16, [10] * 16, 80, run, refused, later) == first == [-10] * 16
    assert max(sizes) == 20 and later.facts()["memory_ceiling"] == 40 and later.split > 0
    assert PackLog("another model").ceiling is None


def test_what_a_failed_try_held_is_let_go_before_the_next_one(log):
    alive = []

    def run(pack):
        assert all(each() is None for each in alive), "an earlier try still holds its tensors"
        held = torch.zeros(4)
        alive.append(weakref.ref(held))
        if len(pack) > 1:
            kept = torch.OutOfMemoryError("too much")  # the frame knows the error, and it the frame
            raise kept
        return [held.shape[0] * n for n in pack]

    gc.disable()
    try:
        assert run_packs([1, 2, 3], [1] * 3, 100, run, refused, log) == [4, 8, 12]
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [KeyError("bug"), FloatingPointError("nan"), RuntimeError("x")])
def test_a_row_that_raises_is_found_and_refused_and_the_others_come_through(log, error, caplog):
    def run(pack):
        if 5 in pack:
            raise error
        return [n * 2 for n in pack]

    found = run_packs(list(range(8)), [1] * 8, 100, run, refused, log)
    reason = f"5: error:{type(error).__name__}"
    assert found == [0, 2, 4, 6, 8, reason, 12, 14]
    assert log.ceiling is None and "Traceback" in caplog.text


def test_an_error_that_no_row_survives_is_raised_for_it_is_a_bug(log):
    def run(pack):
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        run_packs(list(range(40)), [1] * 40, 10, run, refused, log)
    assert run_packs([7], [1], 10, run, refused, log) == ["7: error:KeyError"]


@pytest.mark.parametrize(
    "error", [OSError("disk"), MemoryError(), DamagedArtifact("x"), KeyboardInterrupt(),
              torch.AcceleratorError("gone", 700), RuntimeError("CUDA error: gone")],
)  # fmt: skip
def test_what_is_no_rows_fault_is_raised_at_once(log, error):
    tries = []

    def run(pack):
        tries.append(len(pack))
        raise error

    with pytest.raises(type(error)):
        run_packs(list(range(8)), [1] * 8, 100, run, refused, log)
    assert tries == [8]
