"""Sources on disk: Parquet a row group at a time, and preference data in every file format."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pillow

from mbpo_core.data.conversations import read_turns
from mbpo_core.records import Reason
from tasks import sources
from tasks.pipeline import Choice
from tasks.sources import ParquetRecords, load_records
from tests.mbpo_core.data.layouts import CHOSEN, LAYOUTS, PAIR, REJECTED, Q, chat
from tests.pipelines import rows, run, runtime, small_recipe


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


def png():
    stream = io.BytesIO()
    Pillow.new("RGB", (40, 40), "red").save(stream, format="PNG")
    return stream.getvalue()


def write(record, folder, kind):
    """Write a source of this record alone, and return its path."""
    path = folder / f"data.{kind}"
    if kind == "parquet":
        Dataset.from_list([record]).to_parquet(path)
    else:
        path.write_text(json.dumps(record if kind == "jsonl" else [record]))
    return path


def texts(records):
    return tuple(
        (turn.question, turn.answer, turn.rejected)
        for record in records
        for turn in read_turns(record)
    )


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_every_layout_of_preference_data_is_read_from_every_format(layout, kind, tmp_path):
    path = write(layout.with_image("a.png"), tmp_path, kind)
    assert texts(load_records(path)) == layout.turns


def test_pictures_that_datasets_embeds_in_parquet_come_with_their_pair(tmp_path):
    message = List({"role": Value("string"), "content": Value("string")})
    features = Features(
        {"images": List(Image()), "prompt": message, "chosen": message, "rejected": message}
    )
    sides = {"chosen": chat(CHOSEN, first="assistant"), "rejected": chat("Dog.", first="assistant")}
    record = {"images": [{"bytes": png(), "path": None}], "prompt": chat(Q), **sides}
    Dataset.from_list([record], features=features).to_parquet(tmp_path / "data.parquet")
    (turn,) = read_turns(load_records(tmp_path / "data.parquet")[0])
    assert (turn.image, turn.rejected) == (png(), "Dog.")


def test_ingest_fills_the_column_of_rejected_texts(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    records = [
        {"image": "a.png", **PAIR},
        {"image": "a.png", **PAIR, "rejected": "A bird."},
        {"image": "a.png", "question": Q, "answer": CHOSEN},
        {"image": "a.png", **PAIR, "rejected": ""},
        {"image": "a.png", **PAIR, "rejected": "a cat"},
        {"image": "a.png", **PAIR},
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records))
    source = {"kind": "files", "path": str(path), "image_root": str(tmp_path)}
    recipe = small_recipe(ingest__source=source, ingest__shard_rows=4)
    run(recipe, runtime(tmp_path / "store"), Choice(only=("ingest",)))
    found = rows(tmp_path / "store", "ingest", "samples")
    assert [(row["response"], row["rejected"], row["reason"]) for row in found] == [
        (CHOSEN, REJECTED, None),
        (CHOSEN, "A bird.", None),
        (CHOSEN, None, None),
        (CHOSEN, None, Reason.BAD_REJECTED),
        (CHOSEN, "a cat", Reason.EQUAL_REJECTED),
        (CHOSEN, REJECTED, Reason.DUPLICATE),
    ]
