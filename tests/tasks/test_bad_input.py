"""Bad records and images become rows with a reason; their neighbours come through."""

import io
import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from PIL import Image

from mbpo_core.testbed.world import write_world
from tasks.pipeline import Choice
from tasks.pool import ShardFailedError
from tasks.sources import SourceError
from tests.pipelines import rows, run, runtime, small_recipe

INGEST = Choice(only=("ingest",))


def png(size=(40, 40), mode="RGB"):
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, format="PNG")
    return stream.getvalue()


def record(name, image, question="<image>\nWhat is it?", answer="A square."):
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"id": name, "conversations": turns} | ({"image": image} if image else {})


def files_recipe(path, **changes):
    source = {"kind": "files", "path": str(path), "image_root": str(path.parent)}
    return small_recipe(ingest__source=source, ingest__shard_rows=4, **changes)


def hostile_folder(folder):
    """Write good and bad records in turn; return the source and what each should become."""
    (folder / "good.png").write_bytes(png())
    (folder / "cut.png").write_bytes(png((200, 200))[:-40])
    (folder / "text.png").write_bytes(b"this is no picture")
    (folder / "wide.png").write_bytes(png((3000, 12)))
    (folder / "huge.png").write_bytes(png((3000, 3000), "1"))
    bad = {
        "cut": (record("cut", "cut.png"), "truncated"),
        "text": (record("text", "text.png"), "unreadable"),
        "wide": (record("wide", "wide.png"), "extreme_ratio"),
        "huge": (record("huge", "huge.png"), "too_large"),
        "gone": (record("gone", "nowhere.png"), "missing_file"),
        "outside": (record("outside", "../../etc/passwd"), "outside_root"),
        "none": (record("none", None), "no_image"),
        "empty": (record("empty", "good.png", answer=""), "empty_response"),
        "odd": ({"id": "odd", "image": "good.png", "conversations": "what"}, "malformed_record"),
        "special": (record("special", "good.png", answer="<|im_end|>"), "special_token"),
    }
    records, expected = [], {}
    for n, (name, (each, reason)) in enumerate(bad.items()):
        records += [each, record(f"good{n}", "good.png", f"<image>\nQuestion {n}?")]
        expected |= {name: reason, f"good{n}": None}
    path = folder / "data.json"
    path.write_text(json.dumps(records))
    return path, expected


def test_every_bad_record_is_a_row_with_its_reason_and_no_neighbour_is_lost(tmp_path):
    path, expected = hostile_folder(tmp_path)
    recipe = files_recipe(path, ingest__max_source_pixels=1_000_000)
    run(recipe, runtime(tmp_path / "store"), INGEST)
    found = rows(tmp_path / "store", "ingest", "samples")
    assert {row["source_id"]: row["reason"] for row in found} == expected
    assert all(row["image"] is not None for row in found if row["reason"] is None)
    assert len({row["sample_id"] for row in found}) == len(found)


def test_a_broken_line_of_jsonl_is_a_row_and_the_others_are_read(tmp_path):
    (tmp_path / "good.png").write_bytes(png())
    lines = [json.dumps(record("a", "good.png")), '{"id": "b", ', json.dumps(record("c", "x.png"))]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(lines))
    run(files_recipe(path), runtime(tmp_path / "store"), INGEST)
    reasons = Counter(row["reason"] for row in rows(tmp_path / "store", "ingest", "samples"))
    assert reasons == {None: 1, "malformed_record": 1, "missing_file": 1}


@pytest.mark.parametrize("layout", ["parquet", "datasets"])
def test_parquet_and_datasets_folders_with_image_bytes_give_the_same_samples(tmp_path, layout):
    path = write_world(tmp_path / "world", "pool", 2)
    records = json.loads(path.read_text())
    for each in records:
        data = (path.parent / each["image"]).read_bytes()
        each["image"] = {"bytes": data, "path": None}
    if layout == "parquet":
        source = tmp_path / "data.parquet"
        pq.write_table(pa.Table.from_pylist(records), source)
    else:
        source = tmp_path / "data"
        Dataset.from_list(records).save_to_disk(str(source))
    for name, at in (("json", path), (layout, source)):
        recipe = small_recipe(ingest__source={"kind": "files", "path": str(at)})
        run(recipe, runtime(tmp_path / name), INGEST)
    keep = ("sample_id", "question", "response", "closed_kind", "closed_answer", "image_id")
    one, two = (
        [{k: row[k] for k in keep} for row in rows(tmp_path / name, "ingest", "samples")]
        for name in ("json", layout)
    )
    assert one == two and all(row["image_id"] for row in one)


def test_responses_over_the_length_limit_are_refused_and_never_cut(tmp_path):
    (tmp_path / "good.png").write_bytes(png())
    path = tmp_path / "data.json"
    records = [record("long", "good.png", answer="a red plum " * 200), record("short", "good.png")]
    path.write_text(json.dumps(records))
    run(files_recipe(path), runtime(tmp_path / "store"), Choice(only=("ingest", "score")))
    samples = {
        r["sample_id"]: r["source_id"] for r in rows(tmp_path / "store", "ingest", "samples")
    }
    scores = {samples[r["sample_id"]]: r for r in rows(tmp_path / "store", "score", "scores")}
    assert scores["long"]["reason"] == "too_long" and scores["long"]["token_logps"] is None
    assert scores["short"]["reason"] is None and scores["short"]["n_tokens"] > 1


def test_a_missing_source_and_an_empty_folder_are_clear_errors(tmp_path):
    with pytest.raises(SourceError, match=r"source not found: .*--source"):
        run(files_recipe(tmp_path / "no.json"), runtime(tmp_path / "store"), INGEST)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"no \.parquet or \.arrow file"):
        run(files_recipe(tmp_path / "empty"), runtime(tmp_path / "store"), INGEST)


def test_a_missing_model_folder_is_a_clear_error_before_anything_runs(tmp_path):
    model = {"kind": "pretrained", "name": str(tmp_path / "nothing")}
    with pytest.raises(FileNotFoundError, match=r"model folder not found.*nothing"):
        run(small_recipe(scorer=model), runtime(tmp_path / "store"),
            Choice(only=("ingest", "score")))  # fmt: skip


def test_noise_that_is_no_image_never_stops_a_shard(tmp_path):
    rng = np.random.default_rng(0)
    good = png()
    records = []
    for n in range(12):
        data = bytearray(good)
        for at in rng.integers(0, len(data), 6):
            data[at] = rng.integers(0, 256)
        (tmp_path / f"{n}.png").write_bytes(bytes(data))
        records.append(record(str(n), f"{n}.png", f"<image>\n{n}?"))
    path = tmp_path / "data.json"
    path.write_text(json.dumps(records))
    run(files_recipe(path), runtime(tmp_path / "store", max_failures=1), INGEST)
    assert len(rows(tmp_path / "store", "ingest", "samples")) == 12


def test_nothing_to_train_on_is_a_clear_error(tmp_path):
    (tmp_path / "good.png").write_bytes(png())
    path = tmp_path / "data.json"
    path.write_text(json.dumps([record("a", "nowhere.png")]))
    with pytest.raises(ShardFailedError, match="nothing to train on"):
        run(files_recipe(path), runtime(tmp_path / "store", retries=0, max_failures=1))
