"""`mbpo sql` as people and programs use it."""

import base64
import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.formats import SHOWN
from storage.catalog import rebuild_catalog
from storage.store import ArtifactStore
from tests.storage.store_builders import build, png

PROJECT = Path(__file__).parents[2]
BREAKS = "select case when range = 5000 then error('stop') else range end as i from range(10000)"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sql") / "it's a store"
    build(root)
    rebuild_catalog(ArtifactStore(root))
    return root


def sql(root, *words, **options):
    words = ["sql", *map(str, words), "--root", str(root)]
    return CliRunner().invoke(app, words, env={"COLUMNS": "200"}, **options)


def test_without_a_query_views_and_columns_are_listed(root):
    done = sql(root)
    assert done.exit_code == 0, done.output
    assert "negatives" in done.output and "logp_reread" not in done.output.split("traces")[1]
    assert "what it was made from" not in done.output and "sample_id" in done.output
    assert "one row per version and each thing that it was made from" in done.output
    columns = [json.loads(line) for line in sql(root, "--json").output.splitlines()]
    assert {"view": "parts", "column": "rows", "type": "BIGINT", "comment": "rows: in this file"} \
        in columns  # fmt: skip
    assert {row["view"] for row in columns} >= {"negatives", "negatives_all", "lineage"}


def test_a_query_from_a_file_and_from_standard_input(root, tmp_path):
    (tmp_path / "q.sql").write_text("-- how many\nselect count(*) as n from negatives;\n")
    for done in (
        sql(root, "--file", tmp_path / "q.sql", "--format", "csv"),
        sql(root, "-", "--format", "csv", input="select count(*) as n from negatives"),
    ):
        assert (done.exit_code, done.output) == (0, "n\n6\n")
    assert "not both" in sql(root, "select 1", "--file", tmp_path / "q.sql").output
    assert sql(root, "--file", tmp_path / "gone.sql").exit_code == 1


VALUES = """select 1 as i, null as nothing, true as yes, 'a "b", c' as t, 'x'::blob as b,
            [1, null] as l, {'k': 'nan'::double} as s, 'nan'::double as f, 1.5 as d,
            date '2026-01-02' as day, sum(range) as big from range(3)"""


def test_csv_is_read_back_by_any_reader(root):
    found = list(csv.DictReader(io.StringIO(sql(root, VALUES, "--format", "csv").output)))
    assert found == [
        {"i": "1", "nothing": "", "yes": "true", "t": 'a "b", c', "b": "eA==", "l": "[1, null]",
         "s": '{"k": null}', "f": "nan", "d": "1.5", "day": "2026-01-02", "big": "3"}
    ]  # fmt: skip


@pytest.mark.parametrize("how", ["json", "jsonl"])
def test_json_has_nothing_that_json_has_not(root, how):
    def strict(name):
        raise ValueError(name)

    text = sql(root, VALUES, "--format", how).output
    value = json.loads(text, parse_constant=strict)
    row = value[0] if how == "json" else value
    assert row == {"i": 1, "nothing": None, "yes": True, "t": 'a "b", c', "b": "eA==",
                   "l": [1, None], "s": {"k": None}, "f": None, "d": "1.5", "day": "2026-01-02",
                   "big": 3}  # fmt: skip
    many = sql(root, "select range as i from range(600)", "--format", how).output
    rows = json.loads(many) if how == "json" else map(json.loads, many.splitlines())
    assert [row["i"] for row in rows] == list(range(600))
    assert json.loads(sql(root, "from negatives where false", "--format", "json").output) == []


def test_parquet_keeps_types_and_images(root, tmp_path):
    out = tmp_path / "new" / "negatives.parquet"
    done = sql(root, "from negatives", "--out", out)
    assert (done.exit_code, done.output) == (0, "")
    table = pq.read_table(out)
    assert table.schema.field("steps").type.value_type == pa.float32()
    assert table["image"][0]["bytes"].as_py() == png(0)
    assert json.loads(table.schema.metadata[b"huggingface"])["info"]["features"] == {
        "image": {"_type": "Image"}
    }
    piped = sql(root, "from negatives", "--format", "parquet")
    assert pq.read_table(io.BytesIO(piped.stdout_bytes)).equals(table)
    done = sql(root, "select interval 1 month as i", "--format", "parquet")
    assert done.exit_code == 2 and "cast it in the query" in done.output
    empty = sql(root, "from negatives where false", "--format", "parquet").stdout_bytes
    assert pq.read_table(io.BytesIO(empty)).schema.names == table.schema.names


def test_images_are_base64_in_text_and_a_size_in_a_table(root):
    query = "select image.bytes as png from negatives limit 1"
    assert f"<{len(png(0))} bytes>" in sql(root, query).output
    row = json.loads(sql(root, query, "--json").output)
    assert base64.b64decode(row["png"]) == png(0)


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "parquet"])
def test_an_error_in_the_midst_leaves_the_old_file_and_nothing_else(root, tmp_path, ending):
    out = tmp_path / f"rows.{ending}"
    out.write_text("old")
    done = sql(root, BREAKS, "--out", out)
    assert done.exit_code == 2 and "stop" in done.output
    assert out.read_text() == "old" and list(tmp_path.iterdir()) == [out]
    assert sql(root, "select 1 as one", "--out", out).exit_code == 0
    assert out.read_bytes() != b"old" and list(tmp_path.iterdir()) == [out]


def test_the_screen_shows_the_first_rows_and_says_so(root):
    output = sql(root, f"from range({SHOWN})").output
    assert f"{SHOWN} rows" in output and "first" not in output
    output = sql(root, f"from range({SHOWN + 5})").output
    assert f"the first {SHOWN} rows; all of them: --format csv" in output
    assert f" {SHOWN - 1} " in output and f" {SHOWN} " not in output.split("the first")[0]


@pytest.mark.parametrize("how", ["table", "csv", "json", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("query", "code"), [("copy (select 1) to 'x.csv'", 1), ("from read_text('/etc/passwd')", 2)]
)
def test_every_format_has_the_limits_of_a_query(root, how, query, code):
    done = sql(root, query, "--format", how)
    assert done.exit_code == code and "root:" not in done.output
    assert "may read only" in done.output or "disabled" in done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["select 1", "--out", "rows.txt"], "say --format"),
        (["select 1", "--out", "rows.csv", "--format", "table"], "a table is for the screen"),
        (["select 1", "--json", "--format", "csv"], "--json means --format jsonl"),
        (["select 1 as a, 2 as a", "--json"], "two columns are named 'a'"),
        (["select 1 as a, 2 as a", "--format", "parquet"], "two columns are named 'a'"),
        (["-"], "the query is empty"),
    ],
)
def test_what_cannot_be_done_is_said(root, words, message):
    done = sql(root, *words, input="")
    assert done.exit_code == 2 and message in done.output, done.output


def test_nothing_is_written_into_the_store_and_no_store_is_made(root, tmp_path):
    before = sorted(root.rglob("*"))
    done = sql(root, "select 1", "--out", root / "artifacts" / "rows.csv")
    assert done.exit_code == 2 and "stages alone write to" in done.output
    assert sorted(root.rglob("*")) == before
    (tmp_path / "file").write_text("")
    done = sql(root, "select 1", "--out", tmp_path / "file" / "rows.csv")
    assert done.exit_code == 2 and "cannot be written" in done.output
    done = sql(tmp_path / "typo", "select 1")
    assert done.exit_code == 2 and "no store at" in done.output
    assert not (tmp_path / "typo").exists()


def test_a_reader_that_goes_away_ends_it_quietly(root):
    words = [sys.executable, "-m", "flows.cli", "sql", "from range(1000000)", "--format", "csv",
             "--root", str(root)]  # fmt: skip
    process = subprocess.Popen(
        words, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "range\n"
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(60) == 1
    process.stderr.close()
