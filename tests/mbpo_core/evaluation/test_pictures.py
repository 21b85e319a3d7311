import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation.groups import all_right, side_by_side
from mbpo_core.evaluation.pictures import picture_name, pictures
from mbpo_core.evaluation.protocol import Answer, BenchmarkError, Score


@given(st.binary(min_size=60, max_size=200))
def test_base64_is_decoded_and_references_are_followed(data):
    text = base64.b64encode(data).decode()
    records = [{"index": 7, "image": text}, {"index": "1000007", "image": "7"},
               {"index": 8, "image": 7}]  # fmt: skip
    assert pictures(records) == [data] * 3


@pytest.mark.parametrize(
    ("record", "picture", "name"),
    [
        ({"image": "val2014/COCO_val2014_000000000042.jpg"},
         "val2014/COCO_val2014_000000000042.jpg", "42"),
        ({"image": "folder/" * 12 + "a.png"}, "folder/" * 12 + "a.png", "a"),
        ({"image": {"bytes": None, "path": "a.png"}}, "a.png", "a"),
        ({"image": {"bytes": b"x", "path": "a.png"}}, b"x", "a"),
        ({"image": None, "image_path": "b/c.jpg"}, "b/c.jpg", "c"),
        ({"image": float("nan"), "image_path": "b/c.jpg"}, "b/c.jpg", "c"),
        ({"image": None}, None, ""), ({}, None, ""), ({"image": ""}, None, ""),
    ],
)  # fmt: skip
def test_where_a_picture_is_and_what_it_is_called(record, picture, name):
    assert pictures([record]) == [picture]
    assert picture_name(record, picture) == name


def test_pictures_without_a_name_are_called_by_their_bytes():
    one, other = (picture_name({}, data) for data in (b"one", b"other"))
    assert one and other and one != other and one == picture_name({"index": 3}, b"one")


def test_what_is_cut_off_is_no_picture():
    with pytest.raises(BenchmarkError, match="no base64 picture: 'AAAA"):
        pictures([{"image": "A" * 97}])


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
