import os
import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime

import duckdb
import pyarrow as pa
import pytest

from storage.catalog import CATALOG_NAME, query, rebuild_catalog
from storage.identity import Identity
from storage.runs import finish_run, read_run, read_runs, record_stage, start_run
from storage.store import ArtifactStore
from storage.tables import TableSpec, rows_to_table, schema_text
from tests.storage.store_builders import build, identity


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "it's [odd] *" / "mbpo")


def simple(store, stage, name, columns, row, **config):
    """Commit one table of one row."""
    spec = TableSpec(name, pa.schema(columns))
    made = Identity(stage, 1, schema_text([spec]), config)
    store.write_shard(stage, made.key, 0, {name: rows_to_table([row], spec)})
    return store.commit(stage, made.key, [0], tables=[spec], identity=made)


def test_the_tables_say_what_the_manifests_say(store):
    source = build(store, {"steps": 1}, shards=(0,))
    ref = build(
        store, {"steps": 2}, inputs={"negatives": source}, recipe="tiny", run_id="r1",
        code_revision="abc", device="cpu", wall_seconds=1.5,
    )  # fmt: skip
    rebuild_catalog(store)
    manifest = store.manifest(ref)
    result = query(store.root, "FROM artifacts WHERE key = ?", [ref.key])
    names = [column[0] for column in result.description]
    row = dict(zip(names, result.fetchone(), strict=True))
    assert row["created_at"].isoformat() == manifest.created_at.removesuffix("+00:00")
    expected = {
        "stage": "mine", "artifact": "negatives", "key": ref.key, "content": ref.content,
        "rows": 6, "bytes": manifest.bytes, "wall_seconds": 1.5, "device": "cpu",
        "recipe": "tiny", "run_id": "r1", "code_revision": "abc", "code_dirty": None,
        "path": str(store.path(ref)),
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert query(store.root, "SELECT name, input_key FROM artifact_inputs").fetchall() == [
        ("negatives", source.key)
    ]
    parts = query(store.root, "SELECT path, rows FROM parts WHERE key = ? ORDER BY ALL", [ref.key])
    paths = [*store.parts(ref, "negatives"), *store.parts(ref, "traces")]
    assert parts.fetchall() == [(str(part.path), 3) for part in paths]
    reasons = query(
        store.root, "SELECT table_name, reason, count FROM reasons WHERE key = ?", [ref.key]
    )
    assert reasons.fetchall() == [("negatives", "unreadable", 2)]
    shards = query(store.root, "SELECT shard, rows, seconds FROM shards WHERE key = ?", [ref.key])
    assert shards.fetchall() == [(0, 6, None), (1, 6, None)]


def test_what_workers_note_of_a_shard_is_in_the_catalogue(store):
    spec = TableSpec("scores", pa.schema([("a", pa.int64())]))
    made = Identity("score", 1, schema_text([spec]), {})
    noted = {"started_at": "2026-01-02T03:04:05+00:00", "seconds": 2.5, "model_seconds": 2.0,
             "device": "cpu"}  # fmt: skip
    store.write_shard("score", made.key, 0, {"scores": rows_to_table([{"a": 1}], spec)}, info=noted)
    store.commit("score", made.key, [0], tables=[spec], identity=made)
    rebuild_catalog(store)
    columns = "rows, started_at, seconds, model_seconds, device"
    found = query(store.root, f"SELECT {columns} FROM shards").fetchone()
    assert found == (1, datetime(2026, 1, 2, 3, 4, 5), 2.5, 2.0, "cpu")


def test_views_latest_all_and_by_version(store):
    old, new = build(store, {"steps": 1}, shards=(0,)), build(store, {"steps": 2})
    rebuild_catalog(store)

    def count(view):
        return query(store.root, f"SELECT count(*) FROM {view}").fetchone()[0]

    assert (count("negatives"), count("traces")) == (6, 6)
    assert count(f"negatives__{old.key[:8]}") == 3
    versions = query(store.root, "SELECT key, content, count(*) FROM negatives_all GROUP BY ALL")
    assert sorted(versions.fetchall()) == sorted(
        [(old.key, old.content[:12], 3), (new.key, new.content[:12], 6)]
    )


def test_the_plain_view_shows_the_latest_run_else_the_latest_commit(store):
    first = build(store, {"steps": 1}, shards=(0,))
    build(store, {"steps": 2}, shards=(0, 1))
    third = build(store, {"steps": 3}, shards=(0, 1, 2))

    def rows():
        rebuild_catalog(store)
        return query(store.root, "SELECT count(*) FROM negatives").fetchone()[0]

    assert rows() == 9
    start_run(store.root, "a", "tiny")
    assert rows() == 9
    record_stage(store.root, "a", "mine", first)
    assert rows() == 3
    start_run(store.root, "b", "tiny")
    record_stage(store.root, "b", "mine", third)
    assert rows() == 9
    record_stage(store.root, "a", "mine", first)
    assert rows() == 9


def test_versions_with_other_columns_meet_in_one_view(store):
    simple(store, "score", "scores", [("id", pa.string())], {"id": "a"}, n=1)
    simple(store, "score", "scores", [("id", pa.string()), ("x", pa.int64())], {"id": "b", "x": 1})
    rebuild_catalog(store)
    rows = query(store.root, "SELECT id, x FROM scores_all ORDER BY id").fetchall()
    assert rows == [("a", None), ("b", 1)]


def test_columns_named_key_keep_their_name(store):
    ref = simple(store, "score", "pairs", [("key", pa.string()), ("v", pa.int64())], {"key": "a"})
    rebuild_catalog(store)
    rows = query(store.root, "SELECT key, artifact_key FROM pairs_all").fetchall()
    assert rows == [("a", ref.key)]


def test_versions_that_do_not_fit_are_still_read_one_by_one(store):
    lists = simple(store, "score", "scores", [("x", pa.list_(pa.int64()))], {"x": [1]})
    simple(store, "score", "scores", [("x", pa.int64())], {"x": 1})
    rebuild_catalog(store)
    assert query(store.root, "SELECT x FROM scores").fetchall() == [(1,)]
    assert query(store.root, f"SELECT x FROM scores__{lists.key[:8]}").fetchall() == [([1],)]
    with pytest.raises(duckdb.ConversionException):
        query(store.root, "SELECT x FROM scores_all").fetchall()


def test_a_rotten_part_takes_no_other_view_with_it(store, caplog):
    sound, rotten = build(store, {"steps": 1}, shards=(0,)), build(store, {"steps": 2})
    part = store.parts(rotten, "negatives")[0].path
    part.write_bytes(b"x" * part.stat().st_size)
    rebuild_catalog(store)
    sql = f"SELECT count(*) FROM negatives__{sound.key[:8]}"
    assert query(store.root, sql).fetchone() == (3,)
    assert f"no view negatives__{rotten.key[:8]}" in caplog.text


@pytest.mark.parametrize("harm", ["missing", "garbage", "truncated", "empty"])
def test_a_missing_or_damaged_catalogue_is_rebuilt(store, harm):
    build(store)
    path = rebuild_catalog(store)
    data = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes({"garbage": b"x" * 9999, "truncated": data[:9000], "empty": b""}[harm])
    assert query(store.root, "SELECT count(*) FROM negatives").fetchone() == (6,)


def test_a_catalogue_that_points_at_lost_files_is_rebuilt(store):
    old, new = build(store, {"steps": 1}, shards=(0,)), build(store, {"steps": 2})
    rebuild_catalog(store)
    for part in store.parts(new, "negatives"):
        part.path.unlink()
    assert query(store.root, "SELECT count(*) FROM negatives").fetchone() == (3,)
    assert query(store.root, "SELECT key FROM artifacts").fetchall() == [(old.key,)]
    with pytest.raises(duckdb.Error):
        query(store.root, "SELECT nonsense FROM artifacts")


def test_an_empty_store_has_an_empty_catalogue(store):
    assert query(store.root, "SELECT count(*) FROM artifacts").fetchone() == (0,)


def test_an_open_reader_keeps_the_old_state_and_a_new_one_sees_the_new(store):
    build(store, {"steps": 1})
    path = rebuild_catalog(store)
    with duckdb.connect(str(path), read_only=True) as reader:
        assert reader.execute("SELECT count(*) FROM artifacts").fetchone() == (1,)
        build(store, {"steps": 2})
        rebuild_catalog(store)
        assert reader.execute("SELECT count(*) FROM artifacts").fetchone() == (1,)
        assert query(store.root, "SELECT count(*) FROM artifacts").fetchone() == (2,)
    assert [p.name for p in store.root.iterdir() if "catalog" in p.name] == [CATALOG_NAME]


HELD = """
import sys, duckdb
with duckdb.connect(sys.argv[1], read_only=True) as held:
    print(held.execute("SELECT count(*) FROM artifacts").fetchone()[0], flush=True)
    sys.stdin.readline()
    print(held.execute("SELECT count(*) FROM artifacts").fetchone()[0], flush=True)
    print(held.execute("SELECT count(*) FROM negatives").fetchone()[0], flush=True)
"""

FRESH = """
import sys, duckdb
path, last, counts = sys.argv[1], int(sys.argv[2]), [0]
print("started", flush=True)
while counts[-1] < last:
    with duckdb.connect(path, read_only=True) as fresh:
        join = "FROM negatives n JOIN traces t USING (sample_id)"
        joined = fresh.execute("SELECT count(*), count(t.step) " + join).fetchone()
        assert joined == (6, 6), joined
        counts.append(fresh.execute("SELECT count(*) FROM artifacts").fetchone()[0])
assert counts == sorted(counts)
print(len(counts))
"""


@contextmanager
def child(script, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_other_processes_read_with_plain_duckdb_while_the_store_commits(store):
    build(store, {"steps": 0})
    path, rounds = rebuild_catalog(store), 8
    with child(HELD, path) as held, child(FRESH, path, rounds + 1) as fresh:
        assert held.stdout.readline() == "1\n"
        assert fresh.stdout.readline() == "started\n"
        for steps in range(1, rounds + 1):
            build(store, {"steps": steps})
            rebuild_catalog(store)
        assert int(fresh.communicate(timeout=60)[0]) >= 3, "hardly ran beside the writer"
        assert held.communicate("go\n", timeout=60)[0] == "1\n6\n"
        assert (held.returncode, fresh.returncode) == (0, 0)


def test_run_records_keep_what_happened(store):
    ref = build(store)
    begun = start_run(store.root, "flow-1", "tiny")
    record_stage(store.root, "flow-1", "mine", ref)
    finish_run(store.root, "flow-1", "failed")
    assert read_run(store.root, "flow-1").status == "failed"
    again = start_run(store.root, "flow-1", "tiny")
    assert (again.started_at, again.stages, again.status) == (
        begun.started_at,
        {"mine": ref},
        "running",
    )
    start_run(store.root, "flow-2", "tiny")
    (store.root / "runs" / "broken.json").write_text("{")
    assert [run.run_id for run in read_runs(store.root)] == ["flow-1", "flow-2"]
    with pytest.raises(ValueError, match="run id"):
        start_run(store.root, "../evil", "tiny")
    with pytest.raises(FileNotFoundError):
        record_stage(store.root, "flow-3", "mine", ref)


def test_the_catalogue_lists_runs_and_their_artifacts(store):
    ref = build(store)
    start_run(store.root, "flow-1", "tiny")
    record_stage(store.root, "flow-1", "mine", ref)
    finish_run(store.root, "flow-1", "completed")
    rebuild_catalog(store)
    sql = "SELECT run_id, recipe, status, stage, key FROM runs JOIN run_stages USING (run_id)"
    assert query(store.root, sql).fetchall() == [
        ("flow-1", "tiny", "completed", "mine", identity().key)
    ]
