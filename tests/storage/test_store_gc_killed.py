"""Garbage collection that is killed in the middle, and beside runs that begin at that moment."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage.catalog import rebuild_catalog
from storage.gc import collect_garbage
from storage.publish import read_intact
from storage.reach import Policy
from storage.store import ArtifactStore
from tests.storage.chains import chain, left, record

PROJECT = Path(__file__).parents[2]
COLLECT = """
import os, signal, sys
from pathlib import Path
from storage.gc import collect_garbage
from storage.reach import Policy
from storage.store import ArtifactStore

call, left = sys.argv[2], int(sys.argv[3])
real = getattr(os, call)

def counted(*arguments, **options):
    global left
    done = real(*arguments, **options)
    left -= str(arguments[0]).find("locks") < 0
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

store = ArtifactStore(Path(sys.argv[1]))
setattr(os, call, counted)
collect_garbage(store, Policy(1))
"""


@pytest.mark.parametrize(
    ("call", "times"), [("rename", 1), ("rename", 7), ("unlink", 1), ("unlink", 20), ("rmdir", 14)]
)
def test_kill_9_leaves_nothing_half_removed(tmp_path, call, times):
    """It kills itself after so many renames, or while it deletes what it put out of the way."""
    store = ArtifactStore(tmp_path)
    chains = [chain(store, number) for number in range(6)]
    for number, refs in enumerate(chains):
        record(store, f"r{number}", refs)
    words = [sys.executable, "-c", COLLECT, tmp_path, call, str(times)]
    assert subprocess.run(words, cwd=PROJECT).returncode == -signal.SIGKILL
    there = left(store)
    assert set(chains[-1]) <= there
    assert len(there) == (18 - times if call == "rename" else 3)
    assert list(tmp_path.glob(".gone-*")), "killed while something was left to delete"
    for ref in there:
        assert read_intact(store.path(ref), verify=True)
        assert set(store.manifest(ref).inputs.values()) <= there
    for folder in (tmp_path / "artifacts").glob("*/*"):
        assert (folder / "manifest.json").is_file()
    rebuild_catalog(store)
    collect_garbage(store, Policy(1))
    assert left(store) == set(chains[-1])
    assert not list(tmp_path.glob(".gone-*"))


TAKE = """
import sys, json
from pathlib import Path
from storage.refs import ArtifactRef
from storage.runs import finish_run, in_progress, record_stage, start_run
from storage.store import ArtifactStore
store, number = ArtifactStore(Path(sys.argv[1])), int(sys.argv[2])
run_id = f"taker{number}"
print("ready", flush=True)
sys.stdin.readline()
with in_progress(store.root, run_id):
    start_run(store.root, run_id, f"recipe{number}")
    taken = []
    for stage, key in json.loads(sys.argv[3]):
        with store.lock(stage, key):
            ref = store.find(stage, key)
            if ref is not None:
                record_stage(store.root, run_id, stage, ref)
        if ref is None:
            break
        taken.append(ref)
    for ref in taken:
        store.table(ref, "things")
    finish_run(store.root, run_id, "completed")
print(len(taken), flush=True)
"""


def test_runs_that_start_at_the_same_moment_lose_nothing(tmp_path):
    """Each takes a chain as `materialise` does; it finds the whole of what it found, or a miss."""
    store = ArtifactStore(tmp_path)
    chains = [chain(store, number) for number in range(3)]
    takers = [
        subprocess.Popen(
            [sys.executable, "-c", TAKE, tmp_path, str(number),
             json.dumps([[ref.stage, ref.key] for ref in refs])],
            cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number, refs in enumerate(chains)
    ]  # fmt: skip
    for taker in takers:
        assert taker.stdout.readline() == "ready\n"
    for number, taker in enumerate(takers):
        taker.stdin.write("\n")
        taker.stdin.flush()
        time.sleep(0.004 * number)
    collect_garbage(store, Policy())
    for taker, refs in zip(takers, chains, strict=True):
        said, _ = taker.communicate(timeout=60)
        assert taker.returncode == 0
        assert set(refs[: int(said)]) <= left(store)
