"""What is left after kill -9 at any moment, and who builds when several want to."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from store_builders import build, identity, ids, shard_tables

from storage.errors import LockBusy
from storage.store import ArtifactStore

REPOSITORY = Path(__file__).parents[2]
KEY = identity().key

# Refreshes the artifact for ever, each time with other content, and says when it is warm.
REFRESHER = """
import sys
from store_builders import build, identity
from storage.store import ArtifactStore
store = ArtifactStore(sys.argv[1])
shade = int(sys.argv[2])
while True:
    store.discard_staging("mine", identity().key)
    print(build(store, shade=shade).content, flush=True)
    shade += 1
"""

# Builds unless it is there; `built` counts how often that was needed.
BUILDER = """
import sys, time
from pathlib import Path
from store_builders import SPECS, identity, shard_tables
from storage.store import ArtifactStore
store, key = ArtifactStore(sys.argv[1]), identity().key
print("ready", flush=True)
sys.stdin.readline()
with store.lock("mine", key):
    if store.find("mine", key) is None:
        with open(sys.argv[2], "a") as log:
            log.write("built\\n")
        time.sleep(0.3)
        store.write_shard("mine", key, 0, shard_tables(0))
        store.commit("mine", key, [0], tables=SPECS, identity=identity())
print(store.find("mine", key).content)
"""

HOLDER = """
import sys, time
from store_builders import identity
from storage.store import ArtifactStore
with ArtifactStore(sys.argv[1]).lock("mine", identity().key):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def start():
    """Start child processes that can import what this test imports."""
    path = os.pathsep.join([str(REPOSITORY), str(Path(__file__).parent)])
    children = []

    def run(script, *arguments):
        child = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        children.append(child)
        return child

    yield run
    for child in children:
        child.kill()
        child.communicate()


def test_kill_at_any_point_leaves_a_whole_artifact_and_a_usable_store(start, tmp_path):
    store = ArtifactStore(tmp_path)
    build(store, shade=250)
    moments = random.Random(0)
    killed_midway = 0
    for round_number in range(12):
        child = start(REFRESHER, tmp_path, round_number * 20)
        first = child.stdout.readline().strip()
        time.sleep(moments.uniform(0, 0.15))
        child.send_signal(signal.SIGKILL)
        reported = [first, *child.communicate()[0].split()]
        staged = tmp_path / "staging" / "mine" / KEY
        killed_midway += staged.exists()
        found = store.find("mine", KEY, verify=True)
        contents = [ref.content for ref, _ in store.refs()]
        # Never older than what was reported; at most one commit ahead of the report.
        assert contents.index(found.content) >= contents.index(reported[-1])
        for ref, _ in store.refs():
            assert store.table(ref, "negatives")["sample_id"].to_pylist() == ids([0, 1])
        with store.lock("mine", KEY, wait=False):
            left = [p.name for p in staged.iterdir()] if staged.exists() else []
        assert not [name for name in left if name.startswith(".")]
    assert killed_midway, "no kill hit a build; the test would prove nothing"
    assert build(store, shade=251) == store.find("mine", KEY, verify=True)


@pytest.mark.parametrize("point", ["assemble", "stamp", "write_manifest", "fsync_tree", "place"])
def test_a_commit_that_dies_before_its_rename_loses_no_shard(tmp_path, monkeypatch, point):
    import storage.store as module

    class Killed(BaseException):
        pass

    def die(*args, **kwargs):
        raise Killed

    store = ArtifactStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, point, die)
        patch.setattr(module.shutil, "rmtree", lambda *args, **kwargs: None)
        with pytest.raises(Killed):
            build(store)
    assert store.find("mine", KEY) is None and store.refs() == []
    assert store.missing_shards("mine", KEY, [0, 1]) == []
    assert store.table(build(store), "negatives").num_rows == 6


def test_a_commit_that_dies_after_its_rename_is_finished_by_the_next_holder(tmp_path, monkeypatch):
    store = ArtifactStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("storage.staging.remove_tree", lambda path: None)
        ref = build(store)
    assert store.find("mine", KEY) == ref
    assert store.missing_shards("mine", KEY, [0, 1]) == []
    # A refresh must not publish the shards of the commit before it.
    second = build(store, shade=100)
    assert second.content != ref.content
    assert store.find("mine", KEY) == second


def test_four_processes_build_once(start, tmp_path):
    log = tmp_path / "log"
    children = [start(BUILDER, tmp_path / "store", log) for _ in range(4)]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    outputs = {child.communicate("go\n")[0] for child in children}
    assert log.read_text() == "built\n"
    assert outputs == {ArtifactStore(tmp_path / "store").find("mine", KEY).content + "\n"}
    assert all(child.returncode == 0 for child in children)


def test_the_kernel_frees_the_lock_of_a_killed_holder(start, tmp_path):
    store = ArtifactStore(tmp_path)
    holder = start(HOLDER, tmp_path)
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(LockBusy, match=f"{KEY} is being built by process {holder.pid}"),
        store.lock("mine", KEY, wait=False),
    ):
        pass
    with store.lock("score", KEY, wait=False):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with store.lock("mine", KEY, wait=False):
        pass


def test_a_resumed_build_writes_only_the_missing_shards(tmp_path):
    store = ArtifactStore(tmp_path)
    store.write_shard("mine", KEY, 1, shard_tables(1))
    (store.staging("mine", KEY) / ".tmp-1-dead").mkdir()
    with store.lock("mine", KEY):
        assert store.missing_shards("mine", KEY, [0, 1, 2]) == [0, 2]
        assert [p.name for p in store.staging("mine", KEY).iterdir()] == ["shard-00001"]
    assert store.table(build(store, shards=(0, 1, 2)), "negatives").num_rows == 9
