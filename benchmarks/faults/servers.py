"""kill -9 of the Prefect server, of the runner and of the flow run, at random instants."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.faults.trials import Outcome, Trial
from benchmarks.faults.world import SETTINGS, Broken, World, check_visible
from deployments.home import CHECKOUT, Home
from deployments.processes import free_port, leftovers, recall
from storage.locks import file_lock
from storage.store import ArtifactStore
from tasks.registry import ORDER

VICTIMS = ("server", "runner", "flow run")
START_SECONDS = 480.0
NURSERY_SECONDS = 3.0
"""About what a run imports before its first shard, added to the span of instants."""
_DATABASE = "prefect.db"
_OTHERS = ("PREFECT_", "MBPO_")


def trials(instants: int) -> list[Trial]:
    """Return random instants for each of the three processes, all stages in turn."""
    return [Trial("prefect", case, ORDER[n % len(ORDER)], n)
            for n in range(instants) for case in VICTIMS]  # fmt: skip


def perform(trial: Trial, world: World, box: Path) -> Outcome:
    """Kill one while its deployment computes a stage, bring all up, run it again, compare."""
    home, root = _fresh_home(world, box), world.before(trial.stage, box / "store")
    earlier = _stored(root)
    try:
        _launch(home, "up", "--port", str(home.port))
        _run(home, trial.stage, root)
        struck = _strike(trial, world, home, root, len(earlier))
        time.sleep(1.0)
        before = _stored(root)
        check_visible(root)
        _launch(home, "up", "--port", str(home.port))
        _run(home, trial.stage, root, "--watch", "--watch-timeout", "500")
    finally:
        _launch(home, "down")
    if rest := [" ".join(p.cmdline()) for p in leftovers(home)]:
        raise Broken(f"still running after `down`: {rest}")
    check_visible(root)
    world.check(root, (trial.stage,))
    if lost := before - _stored(root):
        raise Broken(f"stored shards were computed again: {sorted(lost)}")
    return Outcome(0, {"struck": struck, "shards_before": len(before - earlier)})


def _fresh_home(world: World, box: Path) -> Home:
    """Return a home whose database has its schema: making it takes longer than a stage."""
    template = Home(world.folder / "home", free_port())
    with file_lock(world.folder / "home.lock"):
        if not (template.folder / _DATABASE).is_file():
            _launch(template, "up", "--port", str(template.port))
            _launch(template, "down")
    home = Home(box / "home", free_port())
    home.create()
    shutil.copyfile(template.folder / _DATABASE, home.folder / _DATABASE)
    return home


def _environment(home: Home) -> dict[str, str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(_OTHERS)}
    return {**plain, "PREFECT_HOME": str(home.folder), "PREFECT_API_URL": home.url,
            "DO_NOT_TRACK": "1"}  # fmt: skip


def _command(home: Home, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=CHECKOUT, env=_environment(home), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    if done.returncode:
        said = (done.stdout + done.stderr)[-3000:]
        raise Broken(f"{words[:4]} ended with {done.returncode}:\n{said}")
    return done.stdout


def _launch(home: Home, verb: str, *options: str) -> None:
    _command(home, "deployments.launch", verb, *options, "--home", str(home.folder))


def _run(home: Home, stage: str, root: Path, *options: str) -> None:
    how = {"root": str(root), "devices": ["cpu"], "workers": 1}
    given = {"overrides": SETTINGS, "runtime": how}
    words = [w for name, value in given.items() for w in ("-p", f"{name}={json.dumps(value)}")]
    _command(home, "prefect", "deployment", "run", f"mbpo/{stage}", *options, *words)


def _strike(trial: Trial, world: World, home: Home, root: Path, earlier: int) -> bool:
    """Kill the victim in the trial's stage; False where its flow run was over by then.

    The stage's shards are waited for, not the clock: a run on a busy machine would still be
    importing when its undisturbed one had ended.
    """
    random = trial.random()
    shards = len(world.store.manifest(world.store.resolve(trial.stage)).shards)
    wanted = earlier + random.randrange(shards)
    _await(lambda: len(_stored(root)) >= wanted and _flow_run(home) is not None)
    time.sleep(random.random() * (world.spans[trial.stage]["flow"] / shards + NURSERY_SECONDS))
    if trial.case == "flow run":
        victim: Any = _flow_run(home)
    else:
        child = recall(home, trial.case)
        victim = child and child.process
    running = _flow_run(home) is not None
    if victim is not None:
        victim.kill()
    return running


def _flow_run(home: Home) -> psutil.Process | None:
    """Return the runner's child that executes a flow run."""
    runner = recall(home, "runner")
    children = runner.process.children() if runner else []
    return children[0] if children else None


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Broken("the run did not begin")
        time.sleep(0.1)


def _stored(root: Path) -> set[tuple[str, int, str]]:
    """Return stage, number and start of every shard that is stored, staged or committed."""
    store, found = ArtifactStore(root), set()
    for ref, manifest in store.refs():
        found |= {(ref.stage, s["shard"], s["started_at"]) for s in manifest.shards}
    for folder in (root / "staging").glob("*/*"):
        for shard in store.staged_shards(folder.parent.name, folder.name):
            found.add((folder.parent.name, shard.number, shard.info["started_at"]))
    return found
