"""`examine` names all damage and nothing else; `quarantine` loses nothing."""

import shutil

import pytest

from storage.doctor import examine, quarantine
from storage.errors import LockBusy
from storage.runs import record_stage, start_run
from storage.store import ArtifactStore
from tests.storage.store_builders import build, identity, shard_tables
from tests.storage.test_store_reading import flip


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "store")


def problems(store):
    return [(each.kind, each.problems) for each in examine(store)]


def test_a_healthy_store_has_no_damage_and_every_byte_was_read(store):
    ref = build(store)
    build(store, {"steps": 2}, shade=9)
    start_run(store.root, "r1", "tiny")
    seen = []
    assert list(examine(store, lambda path, size: seen.append(path.name))) == []
    assert len(seen) == 8 and store.find("mine", ref.key) == ref


HARMS = {
    "flip": (lambda p: flip(p, 60), "negatives-00001.parquet: bytes changed"),
    "truncate": (lambda p: p.write_bytes(p.read_bytes()[:-1]), "bytes, written were"),
    "delete": (lambda p: p.unlink(), "negatives-00001.parquet: missing"),
    "manifest": (lambda p: flip(p.with_name("manifest.json"), 50), "manifest.json: "),
    "no manifest": (lambda p: p.with_name("manifest.json").unlink(), "manifest.json: "),
    "date": (lambda p: p.with_name("committed_at").write_text("noon"), "committed_at: missing"),
    "guest": (lambda p: p.with_name("x.parquet").write_bytes(b""), "x.parquet: no file of this"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_each_kind_of_damage_to_an_artifact_is_named(store, harm):
    ref, other = build(store), build(store, {"steps": 2})
    do, said = HARMS[harm]
    do(store.parts(ref, "negatives")[1].path)
    (damage,) = examine(store)
    assert (damage.stage, damage.key) == ("mine", ref.key)
    assert len(damage.problems) == 1 and said in damage.problems[0]
    before = {p.name: p.read_bytes() for p in damage.path.iterdir()}
    aside = quarantine(store, damage)
    assert {p.name: p.read_bytes() for p in aside.iterdir()} == before
    assert store.find("mine", ref.key) is None and store.find("mine", other.key) == other
    assert list(examine(store)) == [] and build(store) == ref


def test_a_manifest_in_the_wrong_folder_is_named(store):
    ref, other = build(store), build(store, {"steps": 2})
    shutil.copy(store.path(other) / "manifest.json", store.path(ref) / "manifest.json")
    (found,) = problems(store)
    assert f"it is the one of mine/{other.directory}" in found[1][0]


def test_an_artifact_that_the_latest_run_used_and_that_is_gone_is_named(store):
    ref = build(store)
    start_run(store.root, "r1", "tiny")
    record_stage(store.root, "r1", "mine", ref)
    shutil.rmtree(store.path(ref))
    (damage,) = examine(store)
    assert damage.problems == ("the folder is gone",) and quarantine(store, damage) is None


def test_staged_shards_are_examined_but_not_those_of_a_running_builder(store):
    key = identity().key
    with store.lock("mine", key):
        for shard in range(3):
            store.write_shard("mine", key, shard, shard_tables(shard))
    staging = store.staging("mine", key)
    at = (staging / "shard-00001" / "negatives.parquet").read_bytes().index(b"IHDR")
    flip(staging / "shard-00001" / "negatives.parquet", at)
    flip(staging / "shard-00002" / "shard.json", 30)
    assert problems(store) == [
        ("staged shard", ("negatives.parquet: bytes changed (another sha256)",)),
        ("staged shard", ("not whole",)),
    ]
    damages = list(examine(store))
    with ArtifactStore(store.root).lock("mine", key):
        assert problems(store) == []
        with pytest.raises(LockBusy):
            quarantine(store, damages[0])
    for damage in damages:
        quarantine(store, damage)
    assert store.missing_shards("mine", key, range(3)) == [1, 2]


def test_a_run_record_that_cannot_be_read_is_named(store):
    start_run(store.root, "r1", "tiny")
    (store.root / "runs" / "r1.json").write_text("[]")
    assert [kind for kind, _ in problems(store)] == ["run record"]
