"""JSON read a record at a time is what JSON read at once is."""

import codecs
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbpo_core.data import json_records
from mbpo_core.data.json_records import JsonRecords, NotAListError, open_records
from mbpo_core.data.sources import iter_records
from mbpo_core.records import Refusal

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(records=st.lists(VALUES, max_size=8), indent=st.sampled_from([None, 1]),
       ascii=st.booleans(), block=st.integers(1, 40), mark=st.booleans())  # fmt: skip
def test_a_list_in_any_layout_read_in_blocks_of_any_size(
    records, indent, ascii, block, mark, tmp_path_factory
):
    path = tmp_path_factory.mktemp("json") / "data.json"
    text = json.dumps(records, indent=indent, ensure_ascii=ascii)
    path.write_bytes((codecs.BOM_UTF8 if mark else b"") + text.encode("utf-8", "replace"))
    expected = [record for _, record in iter_records(path)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_records, "_BLOCK", block)
        assert list(open_records(path)) == expected


def test_it_is_a_sequence_and_reads_what_it_opened(tmp_path):
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{"id": index, "text": "ä" * index} for index in range(9)]))
    records = JsonRecords(path)
    path.unlink()
    path.write_text("[]")
    assert len(records) == 9 and records[-1]["id"] == 8 and records[3]["text"] == "äää"
    assert [each["id"] for each in records[2:7][1:3]] == [3, 4] and len(records[2:7]) == 5
    for beyond in (9, -10):
        with pytest.raises(IndexError):
            records[beyond]


def test_a_line_that_is_no_json_says_which_one(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"id": 1}\n\nno json\n{"id": 2}')
    first, bad, last = open_records(path)
    assert (first, last) == ({"id": 1}, {"id": 2})
    assert isinstance(bad, Refusal) and bad.detail.startswith("line 3 is no JSON")


@pytest.mark.parametrize("text", ['{"id": 1}', '{"id": 1}\n{"id": 2}', "7", "[]"])
def test_what_is_no_list_is_read_as_before(text, tmp_path):
    path = tmp_path / "data.json"
    path.write_text(text)
    assert list(open_records(path)) == [record for _, record in iter_records(path)]


@pytest.mark.parametrize("text", ["[1, 2", "[1 2]", "[1]]", "[1,]", '["\\q"]', "[" * 100_000, ""])
def test_what_is_no_json_is_refused_with_the_error_of_the_whole(text, tmp_path):
    path = tmp_path / "data.json"
    path.write_text(text)
    with pytest.raises(NotAListError):
        JsonRecords(path)
    with pytest.raises(ValueError, match=r"data\.json is no JSON"):
        open_records(path)
