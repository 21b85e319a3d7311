"""No damaged byte becomes a value: every reading checks what it reads."""

import contextlib
import json

import pytest

from storage.errors import DamagedArtifact, IncompleteArtifact
from storage.manifest import read_manifest
from storage.reading import check_file
from storage.store import ArtifactStore
from tests.storage.store_builders import SPECS, build, identity, shard_tables


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "store")


def flip(path, at, bit=0):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(bytes(data))


def test_every_flipped_bit_of_a_part_is_noticed_or_harmless(store):
    ref = build(store, shards=(0,))
    part = store.parts(ref, "negatives")[0]
    truth, data = part.read(), part.path.read_bytes()
    noticed = 0
    for at in range(len(data)):
        flip(part.path, at, bit=at % 8)
        try:
            found = part.read()
            found.validate(full=True)
            assert found.equals(truth, check_metadata=True), at
        except DamagedArtifact:
            noticed += 1
        part.path.write_bytes(data)
    # What is harmless is what no reader of ours looks at: the page index.
    assert noticed > len(data) * 0.6
    assert part.read().equals(truth)


def test_only_what_is_read_is_checked_and_a_footer_always(store):
    ref = build(store, shards=(0,))
    part = store.parts(ref, "negatives")[0]
    at = part.path.read_bytes().index(b"IHDR")  # inside an image
    flip(part.path, at)
    assert store.table(ref, "negatives", ["sample_id"]).num_rows == 3
    with pytest.raises(DamagedArtifact, match=r"negatives-00000.parquet is damaged .*mbpo doctor"):
        store.table(ref, "negatives")
    flip(part.path, at)
    flip(part.path, -20)
    with pytest.raises(DamagedArtifact, match="damaged footer"):
        store.table(ref, "negatives", ["sample_id"])
    part.path.unlink()
    with pytest.raises(DamagedArtifact, match="is gone"):
        part.read()


def test_every_flipped_bit_of_a_manifest_is_noticed(store):
    ref = build(store, shards=(0,))
    path = store.path(ref) / "manifest.json"
    data, truth = path.read_bytes(), store.manifest(ref)
    for at in range(0, len(data), 3):
        flip(path, at, bit=at % 7)
        with contextlib.suppress(DamagedArtifact):
            assert read_manifest(store.path(ref)) == truth, at  # another kind of white space
        path.write_bytes(data)


def test_manifests_from_before_the_checksums_are_read(store):
    ref = build(store, shards=(0,))
    path = store.path(ref) / "manifest.json"
    value = json.loads(path.read_text())
    del value["checksum"]
    for part in value["parts"]:
        del part["footer"]
    path.write_text(json.dumps(value))
    assert store.table(ref, "negatives").num_rows == 3


def test_files_are_checked_when_they_are_asked_for(store, tmp_path):
    (tmp_path / "weights").write_bytes(bytes(1000))
    key = identity().key
    with store.lock("mine", key):
        store.write_shard("mine", key, 0, shard_tables(0), {"model/w": tmp_path / "weights"})
        ref = store.commit("mine", key, [0], tables=SPECS, identity=identity())
    path = store.files(ref) / "model" / "w"
    flip(path, 500)
    check_file.cache_clear()  # as in another process
    with pytest.raises(DamagedArtifact, match="its sha256 is another"):
        store.files(ref)


@pytest.mark.parametrize("name", ["negatives.parquet", "shard.json"])
def test_a_shard_whose_bytes_change_before_the_commit_is_never_published(store, name):
    key = identity().key
    with store.lock("mine", key):
        for shard in (0, 1):
            store.write_shard("mine", key, shard, shard_tables(shard))
        path = store.staging("mine", key) / "shard-00001" / name
        flip(path, path.read_bytes().index(b"IHDR") if name.endswith("parquet") else 20)
        commit = lambda: store.commit("mine", key, [0, 1], tables=SPECS, identity=identity())  # noqa: E731
        with pytest.raises(IncompleteArtifact, match=r"shard 1|\[1\]"):
            commit()
        assert store.missing_shards("mine", key, [0, 1]) == [1] and not store.refs()
        store.write_shard("mine", key, 1, shard_tables(1))
        ref = commit()
    assert ref == build(ArtifactStore(store.root.parent / "other"))
