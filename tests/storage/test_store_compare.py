"""Versions of a table compared: against plain Python, and what a person reads of it."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.compare import ColumnChange, compare_tables, compare_versions
from storage.reading import Part
from storage.store import ArtifactStore
from storage.tables import IMAGE, write_parquet
from tests.storage.store_builders import build

SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("rank", pa.int32()),
        ("image", IMAGE),
        ("trace", pa.list_(pa.float64())),
        ("value", pa.float64()),
        ("reason", pa.string()),
    ]
)


def row(name, rank=0, image=b"a", trace=(1.0,), value=0.5, reason=None):
    picture = {"bytes": image, "path": f"{name}.png"}
    return {"sample_id": name, "rank": rank, "image": picture, "trace": list(trace),
            "value": value, "reason": reason}  # fmt: skip


def parts(folder, name, rows, schema=SCHEMA, cut=2):
    found = []
    for start in range(0, max(1, len(rows)), cut):
        path = Path(folder) / f"{name}-{start:05d}.parquet"
        table = pa.Table.from_pylist(rows[start : start + cut], schema=schema)
        write_parquet(table, path)
        found.append(Part(path, ""))
    return found


def compared(folder, old, new, **options):
    return compare_tables("t", parts(folder, "old", old), parts(folder, "new", new), **options)


VALUES = st.fixed_dictionaries(
    {
        "rank": st.integers(0, 2),
        "image": st.sampled_from([b"a", b"b"]),
        "trace": st.sampled_from([(1.0,), (2.0, 1.0), ()]),
        "value": st.sampled_from([0.5, -1.25, None, math.nan]),
        "reason": st.sampled_from([None, "lost"]),
    }
)
VERSION = st.dictionaries(st.sampled_from("abcdef"), VALUES, max_size=6)


def values_of(values):
    return {name: repr(value) for name, value in values.items()}  # nan equals itself


@settings(max_examples=25, deadline=None)
@given(VERSION, VERSION)
def test_rows_and_columns_are_counted_as_plain_python_counts_them(old, new):
    with TemporaryDirectory() as folder:
        rows = [[row(name, **each[name]) for name in sorted(each)] for each in (old, new)]
        found = compared(folder, *rows)
    if len(old) == len(new) == 1:
        return  # see below
    common = old.keys() & new.keys()
    differ = {name for name in common if values_of(old[name]) != values_of(new[name])}
    assert found.ids == ("sample_id",)
    assert (found.added, found.removed) == (len(new.keys() - old), len(old.keys() - new))
    assert (found.changed, found.same) == (len(differ), len(common - differ))
    for column in ("rank", "image", "trace", "value", "reason"):
        wanted = sum(repr(old[n][column]) != repr(new[n][column]) for n in common)
        assert sum(c.rows for c in found.columns if c.column == column) == wanted


def test_what_changed_and_by_how_much(tmp_path):
    old = [row("a"), row("b"), row("c", value=1.0)]
    new = [row("b", value=0.75, image=b"x"), row("c", value=-1.0), row("d")]
    found = compared(tmp_path, old, new)
    assert found.columns == (ColumnChange("image", 1), ColumnChange("value", 2, -0.875, 2.0))
    assert found.examples["added"] == [{"sample_id": "d"}]
    assert found.examples["removed"] == [{"sample_id": "a"}]
    first, second = found.examples["changed"]
    assert first["row"] == {"sample_id": "b"} and first["columns"]["value"] == [0.5, 0.75]
    assert all("(1 bytes)" in text for text in first["columns"]["image"])
    assert second == {"row": {"sample_id": "c"}, "columns": {"value": [1.0, -1.0]}}
    assert not found.equal and compared(tmp_path, old, old).equal


def test_rows_are_matched_by_as_many_leading_columns_as_it_takes(tmp_path):
    old = [row("a", 0), row("a", 1), row("b", 0)]
    found = compared(tmp_path, old, [row("a", 0), row("a", 1, value=9.0), row("b", 1)])
    assert found.ids == ("sample_id", "rank")
    assert (found.added, found.removed, found.changed, found.same) == (1, 1, 1, 1)


def test_rows_that_nothing_tells_apart_are_counted_whole(tmp_path):
    twice = [row("a"), row("a"), row("b")]
    found = compared(tmp_path, twice, [row("a"), row("b"), row("b", value=2.0)])
    assert found.ids == () and (found.added, found.removed, found.same) == (1, 1, 2)


def test_the_only_row_of_each_side_is_the_same_row(tmp_path):
    """A checkpoint's id is its key, which differs between any two versions."""
    found = compared(tmp_path, [row("a")], [row("b", value=1.0)])
    assert found.changed == 1 and [c.column for c in found.columns] == ["sample_id", "value"]


def test_columns_that_came_or_went_or_have_another_type(tmp_path):
    old = pa.schema([("sample_id", pa.string()), ("lost", pa.string()), ("n", pa.int32())])
    new = pa.schema([("sample_id", pa.string()), ("n", pa.string()), ("came", pa.string())])
    rows = [[{"sample_id": name, "n": kind(number)} for number, name in enumerate("ab")]
            for kind in (int, str)]  # fmt: skip
    before = parts(tmp_path, "old", rows[0], old)
    found = compare_tables("t", before, parts(tmp_path, "new", rows[1], new))
    assert (found.new_columns, found.lost_columns, found.retyped) == (("came",), ("lost",), ("n",))
    assert found.same == 2 and not found.equal


def test_empty_tables(tmp_path):
    found = compared(tmp_path, [], [row("a"), row("b")])
    assert (found.added, found.removed, found.rows) == (2, 0, (0, 2))
    assert compared(tmp_path, [], []).equal


@pytest.mark.parametrize("shards", [(0, 1), (0, 1, 2)])
def test_versions_of_an_artifact_whose_files_are_partly_the_same(tmp_path, shards):
    store = ArtifactStore(tmp_path)
    old = build(store, {"steps": 1})
    same = compare_versions(store, "negatives", old, build(store, {"steps": 2}))
    assert same.equal and same.rows == (6, 6) and same.same == 6
    new = build(store, {"steps": 3}, shards=shards, shade=0 if len(shards) == 3 else 40)
    found = compare_versions(store, "negatives", old, new)
    assert found.rows == (6, 3 * len(shards))
    if len(shards) == 3:
        assert (found.added, found.changed, found.same) == (3, 0, 6)
    else:
        assert (found.added, found.changed, found.same) == (0, 6, 0)
        assert [column.column for column in found.columns] == ["image"]
