"""Rows by id from an artifact of several parts, and what has to be held for it."""

import hashlib

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from storage.reading import Part
from tasks.rows import _index, chunk, fetch, kept_ids, read_where


class Store:
    """Gives the parts of one table, as a store does."""

    def __init__(self, parts):
        self._parts = parts

    def parts(self, ref, table):
        return self._parts


def name(index):
    return hashlib.sha256(str(index).encode()).hexdigest()


def write(folder, sizes, group):
    parts, at = [], 0
    for number, size in enumerate(sizes):
        rows = range(at, at + size)
        reasons = ["bad" if row % 5 == 0 else None for row in rows]
        table = pa.table({"sample_id": pa.array(map(name, rows), pa.string()),
                          "value": pa.array(rows, pa.int64()),
                          "reason": pa.array(reasons, pa.string())})  # fmt: skip
        path = folder / f"{number}.parquet"
        pq.write_table(table, path, row_group_size=group)
        parts.append(Part(path, ""))
        at += size
    return Store(parts)


@pytest.mark.parametrize("sizes", [(7, 0, 5, 1), (1,), (0, 3)])
def test_every_row_is_found_in_its_part_and_group(sizes, tmp_path):
    store = write(tmp_path, sizes, 3)
    wanted = [name(row) for row in reversed(range(sum(sizes)))]
    found = fetch(store, None, "samples", wanted, ["value"])
    assert {key: row["value"] for key, row in found.items()} == {
        name(row): row for row in range(sum(sizes))
    }


def test_an_unknown_id_is_named(tmp_path):
    store = write(tmp_path, (4,), 2)
    for unknown in (name(99), "", "z", name(1)[:-1]):
        with pytest.raises(KeyError):
            fetch(store, None, "samples", [unknown], ["value"])


def test_an_index_takes_less_than_a_hundred_bytes_a_row(tmp_path):
    rows = 20_000
    index = _index(
        tuple(write(tmp_path, (rows // 2, rows // 2), 100).parts(None, None)), "sample_id"
    )
    assert (index.ids.nbytes + index.rows.nbytes + index.starts.nbytes) / rows < 100


def test_kept_ids_are_those_without_a_reason_in_order(tmp_path):
    ids = kept_ids(write(tmp_path, (7, 0, 5), 3), None, "samples")
    expected = [name(row) for row in range(12) if row % 5]
    assert ids.to_pylist() == expected
    assert [each for shard in range(4) for each in chunk(ids, 3, shard).to_pylist()] == expected


def test_rows_are_filtered_part_by_part(tmp_path):
    store = write(tmp_path, (7, 0, 5), 3)
    found = read_where(store, None, "samples", ["value"], lambda rows: pc.greater(rows["value"], 5))
    assert found["value"].to_pylist() == [6, 7, 8, 9, 10, 11]
