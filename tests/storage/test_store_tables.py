import io
import itertools

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from storage.store import ArtifactStore
from storage.tables import IMAGE, TableSpec, as_table, rows_to_table, schema_text, write_parquet
from tests.storage.store_builders import NEGATIVES, build, png, shard_tables

ROW = {"sample_id": "a", "image": {"bytes": png(7), "path": "a.png"}, "steps": [0.5]}


def images(count, size=6):
    rows = [
        {"sample_id": str(i), "image": {"bytes": png(i, size), "path": f"{i}.png"}}
        for i in range(count)
    ]
    return rows_to_table(rows, NEGATIVES)


def load(paths, tmp_path):
    return datasets.load_dataset(
        "parquet", data_files=[str(p) for p in paths], split="train", cache_dir=str(tmp_path / "hf")
    )


def test_datasets_opens_an_artifact_and_decodes_its_images(tmp_path):
    store = ArtifactStore(tmp_path / "store")
    ref = build(store)
    loaded = load([part.path for part in store.parts(ref, "negatives")], tmp_path)
    assert isinstance(loaded[4]["image"], Image.Image)
    expected = Image.open(io.BytesIO(shard_tables(1)["negatives"]["image"][1]["bytes"].as_py()))
    assert loaded[4]["image"].tobytes() == expected.tobytes()
    assert loaded["reason"][:3] == [None, None, "unreadable"]


def test_our_image_metadata_says_what_datasets_own_metadata_says(tmp_path):
    features = datasets.Features(
        {
            "sample_id": datasets.Value("string"),
            "image": datasets.Image(),
            "steps": datasets.List(datasets.Value("float32")),
            "reason": datasets.Value("string"),
        }
    )
    assert datasets.Features.from_arrow_schema(NEGATIVES.schema) == features
    assert features.arrow_schema.field("image").type == IMAGE
    write_parquet(images(3), tmp_path / "ours.parquet")
    assert load([tmp_path / "ours.parquet"], tmp_path).features == features


def test_without_the_metadata_datasets_would_not_decode(tmp_path):
    pq.write_table(images(3).replace_schema_metadata(None), tmp_path / "bare.parquet")
    assert isinstance(load([tmp_path / "bare.parquet"], tmp_path)[0]["image"], dict)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 250), max_size=4))
def test_equal_tables_give_equal_bytes_however_they_are_chunked(tmp_path_factory, cuts):
    folder, table = tmp_path_factory.mktemp("bytes"), images(250)
    bounds = [0, *sorted(cuts), 250]
    pieces = [table.slice(a, b - a) for a, b in itertools.pairwise(bounds)]
    write_parquet(table, folder / "whole.parquet")
    write_parquet(pa.concat_tables(pieces), folder / "pieces.parquet")
    assert (folder / "whole.parquet").read_bytes() == (folder / "pieces.parquet").read_bytes()


def test_layout_raw_image_bytes_small_groups_page_index(tmp_path):
    write_parquet(images(250), tmp_path / "a.parquet")
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert groups == [100, 100, 50]
    columns = [metadata.row_group(0).column(i) for i in range(metadata.num_columns)]
    compression = {column.path_in_schema: column.compression for column in columns}
    assert compression.pop("image.bytes") == "UNCOMPRESSED"
    assert set(compression.values()) == {"ZSTD"}
    assert all(column.has_offset_index for column in columns)
    raw = next(column for column in columns if column.path_in_schema == "image.bytes")
    assert not raw.is_stats_set


def test_large_images_get_smaller_groups(tmp_path):
    big = {"bytes": bytes(2**24), "path": "x.png"}
    table = rows_to_table([{"sample_id": str(i), "image": big} for i in range(9)], NEGATIVES)
    write_parquet(table, tmp_path / "a.parquet")
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [4, 4, 1]


def test_missing_and_null_images_are_written(tmp_path):
    rows = [ROW, {"sample_id": "b", "reason": "unreadable"}]
    write_parquet(rows_to_table(rows, NEGATIVES), tmp_path / "a.parquet")
    assert load([tmp_path / "a.parquet"], tmp_path)[1]["image"] is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"sample": "x"},
            r"row 1: unknown column 'sample'; the columns are \['sample_id', 'image'",
        ),
        ({"sample_id": 5}, r"column 'sample_id', row 1: expected string, got 5"),
        ({"steps": "x"}, r"column 'steps', row 1: expected list<.*float>, got 'x'"),
        ({"image": b"\x89PNG"}, r"column 'image', row 1: expected struct<.*got b'"),
    ],
)
def test_a_bad_row_is_named_with_its_column(row, message):
    with pytest.raises(ValueError, match=message):
        rows_to_table([ROW, ROW | row], NEGATIVES)


def test_null_is_refused_where_the_schema_says_so():
    spec = TableSpec("scores", pa.schema([pa.field("sample_id", pa.string(), nullable=False)]))
    with pytest.raises(ValueError, match="column 'sample_id', row 1: must not be null"):
        rows_to_table([{"sample_id": "a"}, {}], spec)


def test_a_spec_refuses_wrong_image_columns_and_taken_names():
    with pytest.raises(ValueError, match="image_columns"):
        TableSpec("samples", pa.schema([("image", pa.binary())]), image_columns=("image",))
    for name in ("runs", "x_all", "a__b", "Select", "a-b"):
        with pytest.raises(ValueError, match="table name"):
            TableSpec(name, pa.schema([]))


def test_schema_text_changes_with_every_change_of_a_column():
    specs = [
        TableSpec("t", pa.schema(fields))
        for fields in (
            [("a", pa.int64())],
            [("a", pa.int32())],
            [("b", pa.int64())],
            [pa.field("a", pa.int64(), nullable=False)],
            [("a", pa.int64()), ("b", pa.int64())],
        )
    ]
    assert len({schema_text([spec]) for spec in specs}) == len(specs)
    assert schema_text(specs[:1]) == "t(a int64)"


def test_a_table_is_taken_as_rows_are_and_nothing_else():
    expected = images(3)
    backwards = expected.select(expected.column_names[::-1]).replace_schema_metadata(None)
    assert as_table(backwards, NEGATIVES).equals(expected, check_metadata=True)
    assert as_table(expected.to_pylist(), NEGATIVES).equals(expected, check_metadata=True)
    with pytest.raises(ValueError, match=r"table negatives: the columns are .* got"):
        as_table(expected.drop_columns("steps"), NEGATIVES)
    with pytest.raises(pa.ArrowInvalid, match="three"):
        as_table(expected.set_column(2, "steps", pa.array([["three"]] * 3)), NEGATIVES)
