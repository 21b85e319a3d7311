"""Pictures of questions in every form that releases hold them in; all data is synthetic."""

import base64

import pytest

from mbpo_core.evaluation.pictures import name_of, picture_of, pictures

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
