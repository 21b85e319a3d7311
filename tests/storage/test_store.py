import json
import os
import pickle
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import AmbiguousArtifact, IncompleteArtifact, LockBusy, UnknownArtifact
from storage.files import sha256_file
from storage.refs import ArtifactRef
from storage.store import ArtifactStore, Coverage
from storage.tables import TableSpec
from tests.storage.store_builders import (
    NEGATIVES,
    SPECS,
    TRACES,
    build,
    identity,
    ids,
    shard_tables,
)

KEY = identity().key


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "store")


def commit(store, shards=(0,), **kwargs):
    return store.commit("mine", KEY, shards, **({"tables": SPECS, "identity": identity()} | kwargs))


def test_a_committed_artifact_reads_back_in_shard_order(store):
    ref = build(store, shards=(1, 0, 2))
    assert store.find("mine", ref.key) == ref
    assert store.table(ref, "negatives")["sample_id"].to_pylist() == ids([0, 1, 2])
    assert store.table(ref, "traces", columns=["step"]).column_names == ["step"]
    assert [p.path.name for p in store.parts(ref, "traces")] == [
        f"traces-{i:05d}.parquet" for i in range(3)
    ]
    assert store.path(ref).name == f"{ref.key}.{ref.content[:12]}"
    assert not (store.root / "staging" / "mine" / ref.key).exists()


def test_the_manifest_says_how_it_came_to_be(store):
    source = build(store, {"steps": 1})
    facts = dict(recipe="tiny", run_id="r1", code_revision="abc", code_dirty=True, device="cpu")
    store.write_shard("mine", KEY, 0, shard_tables(0), info={"device": "cpu:3", "splits": 2})
    ref = commit(store, inputs={"samples": source}, wall_seconds=1.5, **facts)
    manifest = store.manifest(ref)
    assert {name: getattr(manifest, name) for name in facts} == facts
    assert manifest.inputs == {"samples": source}
    assert manifest.identity == identity().to_dict()
    assert manifest.tables == ("negatives", "traces")
    assert manifest.reasons == {"negatives": {"unreadable": 1}}
    assert manifest.shards == (
        {"shard": 0, "rows": {"negatives": 3, "traces": 3}, "device": "cpu:3", "splits": 2},
    )
    assert (manifest.artifact, manifest.rows) == ("negatives", 3)
    paths = [store.path(ref) / part.name for part in manifest.parts]
    assert manifest.bytes == sum(path.stat().st_size for path in paths)
    assert [part.sha256 for part in manifest.parts] == [sha256_file(path) for path in paths]


def test_files_and_folders_travel_with_a_shard(store, tmp_path):
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    (model / "weights.bin").write_bytes(b"w" * 10)
    (model / "sub" / "config.json").write_text("{}")
    log = tmp_path / "log.txt"
    log.write_text("hello")
    store.write_shard("mine", KEY, 0, shard_tables(0), files={"model": model, "logs/a.txt": log})
    ref = commit(store)
    assert (store.files(ref) / "logs" / "a.txt").read_text() == "hello"
    assert [f.path for f in store.manifest(ref).files] == [
        "logs/a.txt", "model/sub/config.json", "model/weights.bin",
    ]  # fmt: skip
    (store.files(ref) / "model" / "weights.bin").write_bytes(b"x" * 10)
    assert store.find("mine", KEY) == ref
    assert store.find("mine", KEY, verify=True) is None


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", ""])
def test_a_file_cannot_leave_the_artifact(store, tmp_path, name):
    with pytest.raises(ValueError, match="relative path"):
        store.write_shard("mine", KEY, 0, shard_tables(0), files={name: tmp_path})


@pytest.mark.parametrize("harm", ["truncate", "delete", "manifest", "manifest-gone"])
def test_a_damaged_artifact_is_a_miss_and_can_be_built_again(store, harm):
    ref = build(store)
    part = store.parts(ref, "negatives")[1].path
    if harm == "truncate":
        os.truncate(part, part.stat().st_size - 1)
    elif harm == "delete":
        part.unlink()
    elif harm == "manifest":
        (store.path(ref) / "manifest.json").write_text("{")
    else:
        (store.path(ref) / "manifest.json").unlink()
    assert store.find("mine", ref.key) is None
    assert build(store) == ref
    assert store.find("mine", ref.key, verify=True) == ref


def test_a_flipped_byte_is_found_by_verify_and_healed_by_a_rebuild(store):
    ref = build(store)
    part = store.parts(ref, "negatives")[0].path
    data = bytearray(part.read_bytes())
    data[100] ^= 1
    part.write_bytes(data)
    assert store.find("mine", ref.key) == ref
    assert store.find("mine", ref.key, verify=True) is None
    assert build(store) == ref
    assert store.find("mine", ref.key, verify=True) == ref


def test_refresh_keeps_both_contents_and_find_returns_the_newest(store):
    first = build(store, shade=0)
    second = build(store, shade=100)
    assert first.key == second.key and first.content != second.content
    assert store.find("mine", KEY) == second
    assert store.path(first).is_dir() and store.path(second).is_dir()
    assert store.table(first, "negatives") != store.table(second, "negatives")
    before = (store.path(first) / "manifest.json").read_bytes()
    assert build(store, shade=0) == first
    assert store.find("mine", KEY) == first
    assert (store.path(first) / "manifest.json").read_bytes() == before
    assert [ref for ref, _ in store.refs("mine")] == [second, first]


def test_newest_does_not_depend_on_the_clock(store):
    first = build(store, shade=0)
    (store.path(first) / "committed_at").write_text("2990-01-01T00:00:00.000000+00:00\n")
    assert build(store, shade=100) == store.find("mine", KEY) != first


def test_when_the_newest_content_is_damaged_the_older_one_counts(store):
    first, second = build(store, shade=0), build(store, shade=100)
    store.parts(second, "traces")[0].path.unlink()
    assert store.find("mine", KEY) == first


def test_a_shard_shows_only_when_all_of_it_is_written(store, monkeypatch):
    import storage.staging as staging

    written = []

    def failing(table, path):
        if written:
            raise OSError("disk full")
        written.append(path)

    monkeypatch.setattr(staging, "write_parquet", failing)
    with pytest.raises(OSError, match="disk full"):
        store.write_shard("mine", KEY, 0, shard_tables(0))
    assert written and store.missing_shards("mine", KEY, [0]) == [0]
    assert list(store.staging("mine", KEY).iterdir()) == []


def test_a_shard_that_is_there_stays_and_a_damaged_one_is_replaced(store):
    store.write_shard("mine", KEY, 0, shard_tables(0, shade=0))
    path = store.staging("mine", KEY) / "shard-00000" / "negatives.parquet"
    before = path.read_bytes()
    store.write_shard("mine", KEY, 0, shard_tables(0, shade=100))
    assert path.read_bytes() == before
    os.truncate(path, 50)
    assert store.missing_shards("mine", KEY, [0, 1]) == [0, 1]
    store.write_shard("mine", KEY, 0, shard_tables(0, shade=0))
    assert path.read_bytes() == before
    assert [p.name for p in store.staging("mine", KEY).iterdir()] == ["shard-00000"]


def test_commit_names_missing_and_unplanned_shards(store):
    store.write_shard("mine", KEY, 0, shard_tables(0))
    store.write_shard("mine", KEY, 2, shard_tables(2))
    with pytest.raises(IncompleteArtifact, match=r"1 of 3 shards missing: \[1\]"):
        commit(store, (0, 1, 2))
    with pytest.raises(IncompleteArtifact, match=r"not planned: \[2\]"):
        commit(store, (0,))
    assert store.missing_shards("mine", KEY, (0, 1, 2)) == [1]
    assert store.find("mine", KEY) is None


def test_commit_checks_declared_tables_and_columns(store):
    store.write_shard("mine", KEY, 0, shard_tables(0))
    with pytest.raises(IncompleteArtifact, match=r"has tables .* declared \['negatives'\]"):
        commit(store, tables=[NEGATIVES])
    wrong = TableSpec("traces", pa.schema([("sample_id", pa.string()), ("step", pa.int32())]))
    with pytest.raises(IncompleteArtifact, match="column 'step' is int64, declared 'step' int32"):
        commit(store, tables=[NEGATIVES, wrong])
    short = TableSpec("traces", pa.schema([("sample_id", pa.string())]))
    with pytest.raises(IncompleteArtifact, match=r"\['sample_id', 'step'\] are not the declared"):
        commit(store, tables=[NEGATIVES, short])
    assert store.find("mine", KEY) is None


def test_every_input_id_must_have_a_row(store):
    store.write_shard("mine", KEY, 0, shard_tables(0))
    wanted = [*ids([0]), *(f"lost{i}" for i in range(7))]
    for collection in (wanted, set(wanted), pa.array(wanted), pa.chunked_array([wanted])):
        with pytest.raises(
            IncompleteArtifact,
            match=r"7 input ids have no row in negatives\.sample_id: lost0, .* lost4, \.\.\.",
        ):
            commit(store, coverage=[Coverage("negatives", "sample_id", collection)])
    with pytest.raises(IncompleteArtifact, match=r"no column negatives\.nope"):
        commit(store, coverage=[Coverage("negatives", "nope", wanted)])
    with pytest.raises(IncompleteArtifact, match="coverage names table 'nope'"):
        commit(store, coverage=[Coverage("nope", "sample_id", wanted)])
    assert commit(store, coverage=[Coverage("negatives", "sample_id", ids([0]))])


def test_unique_coverage_refuses_a_second_row_for_an_id(store):
    tables = shard_tables(0)
    tables["negatives"] = pa.concat_tables([tables["negatives"], tables["negatives"].slice(1, 1)])
    store.write_shard("mine", KEY, 0, tables)
    with pytest.raises(IncompleteArtifact, match=r"1 ids have several rows .*: s0-1"):
        commit(store, coverage=[Coverage("negatives", "sample_id", ids([0]), unique=True)])
    assert commit(store, coverage=[Coverage("negatives", "sample_id", ids([0]))])


def test_commit_refuses_a_key_that_is_not_its_identity_s(store):
    store.write_shard("mine", KEY, 0, shard_tables(0))
    with pytest.raises(ValueError, match="not the key of its identity"):
        commit(store, identity=identity(steps=5))


def test_commit_refuses_a_fact_that_no_manifest_has(store):
    store.write_shard("mine", KEY, 0, shard_tables(0))
    with pytest.raises(TypeError, match="recepie"):
        commit(store, recepie="tiny")
    assert store.find("mine", KEY) is None


def test_a_store_travels_to_another_process_without_its_locks(store):
    with store.lock("mine", KEY):
        copy = pickle.loads(pickle.dumps(store))
        assert copy.root == store.root
        with pytest.raises(LockBusy), copy.lock("mine", KEY, wait=False):
            pass


def test_work_is_kept_until_the_commit_and_never_published(store):
    (store.work("mine", KEY) / "checkpoint.pt").write_text("state")
    with store.lock("mine", KEY):
        assert (store.work("mine", KEY) / "checkpoint.pt").exists()
    ref = build(store)
    names = {p.name for p in store.path(ref).rglob("*")}
    assert "checkpoint.pt" not in names
    assert not (store.root / "staging" / "mine" / KEY).exists()


def test_an_empty_table_is_an_artifact_and_no_shard_is_not(store):
    tables = {spec.name: spec.schema.empty_table() for spec in (NEGATIVES, TRACES)}
    store.write_shard("mine", KEY, 0, tables)
    with pytest.raises(ValueError, match="at least one shard"):
        commit(store, ())
    ref = commit(store, (0,))
    assert store.table(ref, "negatives").num_rows == 0
    assert store.table(ref, "negatives").schema.names == NEGATIVES.schema.names


def test_resolve_understands_stage_artifact_and_key_prefix(store):
    old, new = build(store, {"steps": 5}), build(store, {"steps": 20})
    assert store.resolve("mine") == store.resolve("negatives") == new
    assert store.resolve(old.short) == store.resolve(f"negatives/{old.key[:6]}") == old
    assert store.resolve(f"mine/{old.directory}") == old
    with pytest.raises(UnknownArtifact, match=r"there are: mine \(negatives\)"):
        store.resolve("score")
    with pytest.raises(UnknownArtifact, match=f"candidates: {old.short}, {new.short}"):
        store.resolve("mine/zz")


def test_resolve_refuses_a_prefix_of_two_keys(store):
    by_first = {}
    while True:
        ref = build(store, {"steps": len(by_first)})
        if twin := by_first.get(ref.key[0]):
            break
        by_first[ref.key[0]] = ref
    with pytest.raises(AmbiguousArtifact, match=f"{twin.short}, {ref.short}"):
        store.resolve(f"mine/{ref.key[0]}")


def test_unknown_refs_tables_and_stages_are_named(store):
    ref = build(store)
    with pytest.raises(KeyError, match="has no table 'scores'"):
        store.table(ref, "scores")
    with pytest.raises(UnknownArtifact):
        store.path(ArtifactRef("mine", KEY, "0" * 64))
    with pytest.raises(ValueError, match="stage must be"):
        store.find("../mine", KEY)
    with pytest.raises(ValueError, match="key must be"):
        store.find("mine", "../..")


def test_a_root_that_looks_like_a_partition_or_a_glob_reads_back(tmp_path):
    store = ArtifactStore(tmp_path / "year=2024 [x]*'q" / "mbpo")
    ref = build(store)
    assert store.table(ref, "traces").column_names == ["sample_id", "step"]


def test_refs_skip_what_is_no_artifact(store):
    ref = build(store)
    shutil.copytree(store.path(ref), store.path(ref).parent / "deadbeef.000000000000")
    (store.path(ref).parent / "deadbeef.000000000000" / "manifest.json").write_text("[]")
    assert [found for found, _ in store.refs()] == [ref]
    assert json.loads((store.path(ref) / "manifest.json").read_text())["schema"] == 1


def test_parts_are_what_any_parquet_reader_sees(store):
    ref = build(store)
    table = pq.ParquetFile(store.parts(ref, "negatives")[0].path).read()
    assert table.schema.metadata == NEGATIVES.schema.metadata


def test_ref_round_trip():
    ref = ArtifactRef("mine", "1a2b3c4d5e", "ff" * 32)
    assert ArtifactRef.from_dict(ref.to_dict()) == ref
    assert ref.short == "mine/1a2b3c4d"
    for bad in ({"stage": "Mine"}, {"key": "xyz"}, {"content": ""}):
        with pytest.raises(ValueError):
            ArtifactRef.from_dict(ref.to_dict() | bad)
