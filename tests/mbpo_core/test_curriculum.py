from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.curriculum import easy_to_hard, levels_of, shuffled

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


# --- easy to hard ---------------------------------------------------------------------------------

difficulties = st.dictionaries(
    st.integers(0, 99).map(lambda i: f"g{i:02}"), st.integers(0, 5).map(float), min_size=1,
    max_size=20,
)  # fmt: skip


@given(difficulties, st.integers(1, 5))
def test_levels_are_equal_parts_of_the_ranking(difficulty, levels):
    level = levels_of(difficulty, levels)
    assert level.keys() == difficulty.keys()
    sizes = Counter(level.values())
    counts = [sizes[k] for k in range(levels)]
    assert sum(counts) == len(difficulty)
    assert max(counts) - min(counts) <= 1
    for a in difficulty:
        for b in difficulty:
            if level[a] < level[b]:
                assert (difficulty[a], a) < (difficulty[b], b)


@given(st.permutations([f"g{i}" for i in range(7)]), st.integers(0, 9))
def test_levels_and_plan_do_not_depend_on_the_order_given(ids, seed):
    difficulty = {name: float(int(name[1:]) % 3) for name in ids}
    assert levels_of(difficulty, 3) == levels_of(dict(sorted(difficulty.items())), 3)
    plan = easy_to_hard(seed, ids, difficulty, 2, epochs=2)
    assert plan == easy_to_hard(seed, sorted(ids), difficulty, 2, epochs=2)


@given(difficulties, st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(0, 9))
def test_phases_follow_each_other_and_are_shuffled_within(
    difficulty, levels, batch, epochs, seed
):  # fmt: skip
    level = levels_of(difficulty, levels)
    plan = easy_to_hard(seed, list(difficulty), difficulty, batch, levels=levels, epochs=epochs)
    phases = [{level[name] for name in step} for step in plan]
    assert all(len(phase) == 1 for phase in phases)
    order = [next(iter(phase)) for phase in phases]
    assert order == sorted(order)
    assert Counter(name for step in plan for name in step) == dict.fromkeys(difficulty, epochs)
    for phase in set(order):
        own = [name for name in difficulty if level[name] == phase]
        steps = [step for step, at in zip(plan, order, strict=True) if at == phase]
        assert steps == shuffled(seed, own, [], batch, offline_epochs=epochs)


@pytest.mark.parametrize(
    ("max_steps", "by_phase"),
    [
        (3, [1, 1, 1]),
        (7, [2, 2, 3]),
        (12, [4, 4, 4]),
        (100, [12, 12, 12]),  # four groups three times each, one a step
    ],
)
def test_a_bound_on_the_steps_cuts_every_phase_alike(max_steps, by_phase):
    difficulty = {f"g{i:02}": float(i) for i in range(12)}
    plan = easy_to_hard(0, list(difficulty), difficulty, 1, epochs=3, max_steps=max_steps)
    level = levels_of(difficulty, 3)
    assert [level[step[0]] for step in plan] == [k for k in range(3) for _ in range(by_phase[k])]


def test_a_phase_with_fewer_steps_than_its_share_leaves_the_others_theirs():
    """Five groups, two a step: phases of two, two and one group, so one step each."""
    difficulty = {name: float(i) for i, name in enumerate("abcde")}
    plan = easy_to_hard(1, list("abcde"), difficulty, 2, max_steps=9)
    assert [sorted(step) for step in plan] == [["a", "b"], ["c", "d"], ["e"]]


def test_an_empty_level_is_no_phase():
    plan = easy_to_hard(0, ["a", "b"], {"a": 2.0, "b": 1.0}, 1, levels=3, max_steps=2)
    assert plan == [["b"], ["a"]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: easy_to_hard(0, ["a", "b"], {"a": 1.0}, 1), "group b has no difficulty"),
        (lambda: easy_to_hard(0, ["a"], {"a": float("nan")}, 1), "group a: difficulty must be"),
        (lambda: easy_to_hard(0, [], {}, 1), "nothing to train on"),
        (lambda: easy_to_hard(0, ["a"], {"a": 1.0}, 1, epochs=0), "nothing to train on"),
        (lambda: easy_to_hard(0, list("abc"), dict.fromkeys("abc", 0.0), 1, max_steps=2),
         "at least 3, one a phase, got 2"),
        (lambda: easy_to_hard(0, ["a", "a"], {"a": 1.0}, 1), "unique"),
        (lambda: levels_of({"a": 1.0}, 0), "levels must be at least 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_ranked_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
