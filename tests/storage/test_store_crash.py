"""What is left after kill -9 at any moment, and who builds when several want to."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage.errors import LockBusy
from storage.publish import read_intact
from storage.store import ArtifactStore
from tests.storage.store_builders import build, identity, ids, shard_tables

REPOSITORY = Path(__file__).parents[2]
KEY = identity().key

# Refreshes the artifact for ever, each time with other content, and says what it committed.
REFRESHER = """
import sys
from tests.storage.store_builders import build, identity
from storage.store import ArtifactStore
store = ArtifactStore(sys.argv[1])
shade = int(sys.argv[2])
while True:
    store.discard_staging("mine", identity().key)
    print(build(store, shade=shade).content, flush=True)
    shade += 1
"""

# Forks a build for every N that kills itself before its Nth change of the disk.
SUICIDES = """
import os, shutil, signal, sys
from pathlib import Path
from tests.storage.store_builders import build
base = Path(sys.argv[1])

def armed(function, countdown):
    def call(*arguments, **keywords):
        countdown[0] -= 1
        if countdown[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **keywords)
    return call

def child(root, shade, calls):
    countdown = [calls]
    changes = "rename replace link fsync mkdir unlink rmdir truncate sendfile chmod utime"
    for name in changes.split():
        setattr(os, name, armed(getattr(os, name), countdown))
    build(root, shade=shade)
    os._exit(0)

def fork(*arguments):
    process = os.fork()
    if process == 0:
        child(*arguments)
    return os.waitpid(process, 0)[1]

build(base / "before", shade=250)
number = 0
while True:
    root = base / f"killed-{number:03d}"
    shutil.copytree(base / "before", root)
    if fork(root, 0, number) == 0:
        break
    number += 1
print(number)
"""

# Builds unless it is there; `built` counts how often that was needed.
BUILDER = """
import sys, time
from pathlib import Path
from tests.storage.store_builders import SPECS, identity, shard_tables
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
from tests.storage.store_builders import identity
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


def assert_nothing_is_half_done(store):
    """Every directory that is visible is whole, to the byte."""
    for directory in (store.root / "artifacts" / "mine").iterdir():
        assert read_intact(directory, verify=True), directory
    for ref, _ in store.refs():
        assert store.table(ref, "negatives")["sample_id"].to_pylist() == ids([0, 1])


def test_kill_before_every_single_change_of_the_disk(start, tmp_path):
    output = start(SUICIDES, tmp_path).communicate(timeout=120)[0]
    old = ArtifactStore(tmp_path / "before").find("mine", KEY)
    new = ArtifactStore(tmp_path / f"killed-{int(output):03d}").find("mine", KEY)
    assert old.content != new.content
    found = []
    for number in range(int(output)):
        store = ArtifactStore(tmp_path / f"killed-{number:03d}")
        assert_nothing_is_half_done(store)
        found.append(store.find("mine", KEY, verify=True))
        if number % 8 == 0:
            assert build(store, shade=0) == new == store.find("mine", KEY, verify=True)
            assert not (store.root / "staging" / "mine" / KEY).exists()
    # Old up to one point, new from there on: that point is the commit.
    first_new = found.index(new)
    assert found == [old] * first_new + [new] * (len(found) - first_new)
    assert first_new > 20


def test_kill_from_outside_at_random_moments(start, tmp_path):
    store = ArtifactStore(tmp_path)
    build(store, shade=250)
    moments = random.Random(0)
    for round_number in range(6):
        child = start(REFRESHER, tmp_path, round_number * 20)
        reported = [child.stdout.readline().strip()]
        time.sleep(moments.uniform(0, 0.15))
        child.send_signal(signal.SIGKILL)
        reported += child.communicate()[0].split()
        assert_nothing_is_half_done(store)
        found = store.find("mine", KEY, verify=True)
        contents = [ref.content for ref, _ in store.refs()]
        # Never older than what was reported; at most one commit ahead of the report.
        assert contents.index(found.content) >= contents.index(reported[-1])
        with store.lock("mine", KEY, wait=False):
            staged = tmp_path / "staging" / "mine" / KEY
            left = [p.name for p in staged.iterdir()] if staged.exists() else []
        assert not [name for name in left if name.startswith(".")]
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


def test_what_a_kill_left_of_a_staging_folder_being_removed_is_swept(tmp_path):
    """Its name is gone, its files are not: they would fill the disk, and nobody would know them."""
    store = ArtifactStore(tmp_path)
    ref = build(store)
    left = store.root / "staging" / "mine" / ".gone-1-abc"
    (left / "shard-00000").mkdir(parents=True)
    with store.lock("mine", KEY):
        assert not left.exists()
    assert store.find("mine", KEY, verify=True) == ref
