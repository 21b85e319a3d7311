from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.curriculum import shuffled

sizes = st.integers(0, 12)


@given(sizes, sizes, st.integers(1, 7), st.integers(0, 3), st.integers(0, 3), st.integers(0, 99))
def test_every_group_occurs_exactly_as_often_as_its_stream_has_epochs(
    n_off, n_on, batch, e_off, e_on, seed
):
    offline, online = [f"a{i}" for i in range(n_off)], [f"b{i}" for i in range(n_on)]
    if n_off * e_off + n_on * e_on == 0:
        with pytest.raises(ValueError, match="nothing to train on"):
            shuffled(seed, offline, online, batch, offline_epochs=e_off, online_epochs=e_on)
        return
    plan = shuffled(seed, offline, online, batch, offline_epochs=e_off, online_epochs=e_on)
    seen = Counter(group for step in plan for group in step)
    assert seen == Counter(dict.fromkeys(offline, e_off) | dict.fromkeys(online, e_on)) + Counter()
    assert all(1 <= len(step) <= batch and len(set(step)) == len(step) for step in plan)


@given(st.permutations([f"a{i}" for i in range(9)]), st.integers(0, 99))
def test_the_order_depends_on_seed_and_ids_not_on_the_order_given(ids, seed):
    assert shuffled(seed, ids, ["x", "y"], 4) == shuffled(seed, sorted(ids), ["y", "x"], 4)


def test_seed_and_epoch_change_the_order_and_streams_mix():
    offline, online = [f"a{i}" for i in range(40)], [f"b{i}" for i in range(40)]
    first = shuffled(1, offline, online, 8, offline_epochs=2, online_epochs=2)
    assert first != shuffled(2, offline, online, 8, offline_epochs=2, online_epochs=2)
    assert first[:10] != first[10:]
    # Drawn from the union: of 20 steps of 8, all of one stream has odds of 20 * 2 / 2**8 at most.
    assert sum(len({group[0] for group in step}) == 2 for step in first) > 15


def test_max_steps_is_a_prefix():
    ids = [f"a{i}" for i in range(10)]
    whole = shuffled(0, ids, [], 3, offline_epochs=3)
    for bound in range(1, len(whole) + 2):
        assert shuffled(0, ids, [], 3, offline_epochs=3, max_steps=bound) == whole[:bound]


@pytest.mark.parametrize(
    "call",
    [
        lambda: shuffled(0, ["a"], ["a"], 1),
        lambda: shuffled(0, ["a"], [], 0),
        lambda: shuffled(0, ["a"], [], 1, offline_epochs=-1),
        lambda: shuffled(0, ["a"], [], 1, max_steps=0),
    ],
)
def test_bad_sizes_are_refused(call):
    with pytest.raises(ValueError, match=r"unique|at least|negative"):
        call()
