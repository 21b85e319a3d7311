import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.seeds import seed_for

part = st.integers() | st.text()


@given(st.integers(), st.text(), st.text(), st.lists(part, max_size=3))
def test_is_a_63_bit_function_of_its_arguments(run_seed, sample_id, purpose, extra):
    seed = seed_for(run_seed, sample_id, purpose, *extra)
    assert seed == seed_for(run_seed, sample_id, purpose, *extra)
    assert 0 <= seed < 2**63


def test_every_argument_counts_and_none_runs_into_the_next():
    calls = [(0, "a", "bc"), (0, "ab", "c"), (1, "a", "bc"), (0, "a", "bc", 0), (0, "a", "bc", "0")]
    assert len({seed_for(*call) for call in calls}) == len(calls)


def test_refuses_values_without_one_spelling():
    with pytest.raises(TypeError, match="int and str"):
        seed_for(0, "a", "b", 0.5)


def test_purposes_draw_apart():
    purposes = ("respond", "rollout", "curriculum", "probe")
    assert len({seed_for(0, "a", purpose) for purpose in purposes}) == len(purposes)
