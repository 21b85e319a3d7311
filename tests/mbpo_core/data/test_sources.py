import json
import os

import pytest

from mbpo_core.data.sources import (
    LinkedFolder,
    image_size,
    iter_records,
    read_image,
    referenced_images,
)
from mbpo_core.records import Reason, Refusal

RECORDS = [{"id": 1, "text": "äöü"}, {"id": 2}]


@pytest.mark.parametrize("name", ["a.json", "a.JSON"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n "])
def test_a_list(tmp_path, name, start):
    path = tmp_path / name
    path.write_text(start + json.dumps(RECORDS, indent=1), encoding="utf-8")
    assert list(iter_records(path)) == list(enumerate(RECORDS))


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json"])
def test_lines(tmp_path, name):
    path = tmp_path / name
    path.write_text("\n\n".join(json.dumps(record) for record in RECORDS), encoding="utf-8")
    assert list(iter_records(path)) == [(0, RECORDS[0]), (2, RECORDS[1])]


def test_one_record_alone(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(RECORDS[0], indent=1))
    assert list(iter_records(path)) == [(0, RECORDS[0])]


@pytest.mark.parametrize("broken", [b'{"id": ', b"\xff\xfe", b"[" * 100_000])
def test_a_broken_line_leaves_its_neighbours(tmp_path, broken):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": 1}\n' + broken + b'\n{"id": 2}\n')
    (_, first), (index, refused), (_, last) = iter_records(path)
    assert (first, last) == ({"id": 1}, {"id": 2})
    assert index == 1
    assert isinstance(refused, Refusal) and refused.reason is Reason.MALFORMED_RECORD
    assert refused.detail.startswith("line 2 is no JSON")


@pytest.mark.parametrize(
    "value", [b"9" * 5000, b'"half \xff of a text"', b'"\\ud83d"', b"NaN", b"1e999"]
)
def test_a_value_that_nobody_can_use_leaves_the_other_records_of_a_file(tmp_path, value):
    path = tmp_path / "a.json"
    path.write_bytes(b'[{"id": 1}, {"id": ' + value + b'}, {"id": 3}]')
    (_, first), _, (_, last) = iter_records(path)
    assert (first, last) == ({"id": 1}, {"id": 3})


def test_a_file_that_is_no_json_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('[{"id": 1}, ')
    with pytest.raises(ValueError, match=r"a\.json is no JSON"):
        list(iter_records(path))
    with pytest.raises(ValueError, match=r"expected a \.json .* got a\.csv"):
        list(iter_records(tmp_path / "a.csv"))
    with pytest.raises(FileNotFoundError):
        list(iter_records(tmp_path / "none.json"))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images" / "sub").mkdir(parents=True)
    (tmp_path / "images" / "sub" / "a.png").write_bytes(b"inside")
    (tmp_path / "secret.png").write_bytes(b"outside")
    return tmp_path / "images"


@pytest.mark.parametrize(
    "reference", ["sub/a.png", "./sub/a.png", "sub/../sub/a.png", "sub//a.png"]
)
def test_paths_inside_of_the_root(root, reference):
    assert read_image(reference, root) == b"inside"
    assert image_size(reference, root) == 6


def test_an_absolute_path_must_lie_inside(root):
    assert read_image(str(root / "sub" / "a.png"), root) == b"inside"
    found = read_image(str(root.parent / "secret.png"), root)
    assert isinstance(found, Refusal) and found.reason is Reason.OUTSIDE_ROOT


@pytest.mark.parametrize("reference", ["../secret.png", "sub/../../secret.png", "../images2/a"])
def test_a_path_must_not_lead_out(root, reference):
    assert read_image(reference, root) == Refusal(Reason.OUTSIDE_ROOT, reference)
    assert image_size(reference, root) is None


def test_a_link_must_not_lead_out_unless_the_owner_says_so(root):
    (root / "linked").symlink_to(root.parent)
    (root / "direct.png").symlink_to(root.parent / "secret.png")
    (root / "within.png").symlink_to(root / "sub" / "a.png")
    for reference in ("linked/secret.png", "direct.png"):
        found = read_image(reference, root)
        assert found == Refusal(Reason.OUTSIDE_ROOT, f"{reference}: a link leads out of the folder")
        assert image_size(reference, root) is None
        assert read_image(reference, LinkedFolder(root)) == b"outside"
        assert image_size(reference, LinkedFolder(root)) == 7
    assert read_image("within.png", root) == b"inside"
    outside = read_image("../secret.png", LinkedFolder(root))
    assert outside == Refusal(Reason.OUTSIDE_ROOT, "../secret.png")


def test_the_root_itself_may_be_a_link(root):
    (root.parent / "link").symlink_to(root)
    assert read_image("sub/a.png", root.parent / "link") == b"inside"


@pytest.mark.parametrize("reference", ["file:///etc/passwd", "http://127.0.0.1:1/a.png", "~/a"])
def test_addresses_are_names_and_nothing_is_fetched(root, reference):
    found = read_image(reference, root)
    assert isinstance(found, Refusal) and found.reason is Reason.MISSING_FILE


@pytest.mark.parametrize(
    "reference",
    ["none.png", "sub", "x" * 5000, "a\0b", "https://example.org/a.png", ".", "sub/a.png/x"],
)  # fmt: skip
def test_what_cannot_be_opened_is_missing(root, reference):
    found = read_image(reference, root)
    assert isinstance(found, Refusal) and found.reason is Reason.MISSING_FILE
    assert str(root) not in found.detail


def test_a_pipe_is_not_waited_for(root):
    os.mkfifo(root / "pipe.png")
    assert read_image("pipe.png", root).reason is Reason.MISSING_FILE


def test_a_file_too_large_for_a_picture_is_not_read(root):
    with (root / "huge.png").open("wb") as file:
        file.truncate((1 << 30) + 1)
    assert read_image("huge.png", root).reason is Reason.TOO_LARGE


def test_bytes_are_their_own_source(root):
    assert read_image(b"abc", root) == b"abc"
    assert image_size(b"abc", root) == 3


def test_referenced_images():
    turn = {"question": "q", "answer": "a"}
    records = [turn | {"image": "a.png"}, turn | {"image": b"x"}, {"bad": 1},
               Refusal(Reason.MALFORMED_RECORD)]  # fmt: skip
    assert list(referenced_images(records)) == ["a.png"]
