"""Records of Parquet sources: read when they are asked for, a row group at a time."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import sources
from tasks.sources import ParquetRecords


@pytest.fixture
def files(tmp_path):
    paths = []
    for name, start, stop in (("a", 0, 7), ("b", 7, 7), ("c", 7, 12)):
        paths.append(tmp_path / f"{name}.parquet")
        rows = pa.table({"id": pa.array(range(start, stop), pa.int64())})
        pq.write_table(rows, paths[-1], row_group_size=3)
    return paths


def ids(records):
    return [record["id"] for record in records]


def test_they_are_a_sequence_of_all_rows_in_order(files):
    records = ParquetRecords(files)
    everything = list(range(12))
    assert len(records) == 12 and ids(records) == everything
    assert records[0] == {"id": 0} and records[-1] == {"id": 11} and records[6] == {"id": 6}
    for part in (slice(None), slice(5), slice(None, None), slice(4, 9), slice(-3, None)):
        assert ids(records[part]) == everything[part]
    assert ids(records[2:10][3:5]) == everything[2:10][3:5]
    with pytest.raises(IndexError):
        records[12]
    with pytest.raises(IndexError):
        records[:3][3]


def test_a_row_costs_its_row_group_and_a_slice_costs_nothing(files, monkeypatch):
    read = []
    kept = sources._row_group.__wrapped__
    monkeypatch.setattr(
        sources, "_row_group", lambda file, group: read.append(group) or kept(file, group)
    )
    part = ParquetRecords(files)[3:6]
    assert read == []
    assert ids(part) == [3, 4, 5] and set(read) == {1}
