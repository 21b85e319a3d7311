"""Pictures of questions in every form that releases hold them in; all data is synthetic."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation.pictures import name_of, picture_name, picture_of, pictures
from mbpo_core.evaluation.protocol import BenchmarkError

PICTURE = bytes(range(256))
CELL = base64.b64encode(PICTURE).decode()
LONG = "folder/" * 12 + "picture.jpg"


@pytest.mark.parametrize(
    ("image", "picture"),
    [
        (PICTURE, PICTURE), (CELL, PICTURE), ({"bytes": PICTURE, "path": "a.jpg"}, PICTURE),
        ({"bytes": None, "path": "a.jpg"}, "a.jpg"), ("a.jpg", "a.jpg"), (LONG, LONG), ("", None),
        (None, None), (7, None),
    ],
)  # fmt: skip
def test_a_picture_is_bytes_or_the_path_of_a_file(image, picture):
    assert picture_of({"image": image}) == picture


def test_a_row_may_name_the_row_whose_picture_it_shares():
    rows = [{"index": "0", "image": CELL}, {"index": "1", "image": "0"}, {"index": "2"}]
    assert pictures(rows) == [PICTURE, PICTURE, None]


def test_without_such_a_row_it_is_the_name_of_a_file():
    assert pictures([{"index": "0", "image": "7"}, {"image": "0"}]) == ["7", "0"]


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"image": "a.jpg"}, "a.jpg"), ({"image": {"bytes": b"", "path": "a.jpg"}}, "a.jpg"),
        ({"image_src": "http://h/b.jpg", "image": "a.jpg"}, "http://h/b.jpg"),
        ({"image_src": "", "image": CELL}, ""), ({"image": {"bytes": b"x", "path": None}}, ""),
    ],
)  # fmt: skip
def test_the_name_of_a_picture_is_no_picture(record, name):
    assert name_of(record, ("image_src",)) == name


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
