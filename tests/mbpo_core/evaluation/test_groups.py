from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation.groups import all_right, side_by_side
from mbpo_core.evaluation.protocol import Answer, Score


def answer(unit, right):
    return Answer("m", "b", unit, "k", unit, "", Score(correct=right))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12), st.integers(1, 3))
def test_sums_over_answers_are_sums_over_groups(rows, size):
    answers = [answer(*row) for row in rows]
    groups = {}
    for unit, right in rows:
        groups.setdefault(unit, []).append(right)
    for only in (None, size):
        kept = [oks for oks in groups.values() if only is None or len(oks) == only]
        terms = all_right(answers, lambda a: a.unit, size=only)
        assert len(terms) == len(answers)
        assert sum(right for right, _ in terms) == sum(map(all, kept))
        assert sum(n for _, n in terms) == len(kept)
    without = all_right(answers, lambda a: None if a.unit == "a" else a.unit)
    assert sum(n for _, n in without) == len(groups.keys() - {"a"})


def test_parts_stand_side_by_side():
    rows = side_by_side([[(1, 2), (3, 4)], [(5, 6)]])
    assert [list(row) for row in rows] == [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 5, 6]]
