"""Wall clocks that jump while a stage runs: an hour back, a day ahead."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import storage.publish
import storage.runs
import storage.store
from benchmarks.faults.events import Events
from benchmarks.faults.flows import start
from benchmarks.faults.trials import Outcome, Trial
from benchmarks.faults.world import Broken, World, check_visible, recipe
from storage.runs import read_runs
from storage.store import ArtifactStore
from tasks.registry import ORDER

JUMPS = {"an hour back": -3600.0, "a day ahead": 86400.0, "to and fro": 0.0}


def trials(instants: int) -> list[Trial]:
    """Return every jump for every stage."""
    return [Trial("clock", case, stage) for case in JUMPS for stage in ORDER]


def perform(trial: Trial, world: World, box: Path) -> Outcome:
    """Make a stage, then make it anew under a clock that jumps: the second must be the newest."""
    root = world.before(trial.stage, box / "store")
    for number, refresh in enumerate([(), (trial.stage,)]):
        flow = start(
            box / "run", root, recipe(), (trial.stage,), catalogue=False, refresh=refresh,
            arm=(lambda events: jump(events, JUMPS[trial.case])) if number else None,
        )  # fmt: skip
        code = flow.wait()
        flow.destroy()
        if code:
            raise Broken(f"run {number} ended with {code}:\n{flow.log[-2000:]}")
    check_visible(root)
    world.check(root, ORDER[: ORDER.index(trial.stage) + 1])
    runs = read_runs(root)
    if len(runs) != 2 or runs[-1].run_id != _latest(root):
        raise Broken(f"the second run is not the latest: {[r.run_id for r in runs]}")
    ref, _ = ArtifactStore(root).refs(trial.stage)[-1]
    if ref != runs[-1].stages[trial.stage]:
        raise Broken(f"the version of the second run is not the newest, but {ref.directory}")
    return Outcome()


def _latest(root: Path) -> str:
    """Return the run whose record was written last, by the file system's own clock."""
    return max((root / "runs").glob("*.json"), key=lambda path: path.stat().st_mtime_ns).stem


def jump(events: Events, seconds: float) -> None:
    """Give this fork a wall clock that is off by `seconds`; 0: by an hour more or less, in turn."""
    true, turns = time.time, [0]

    def off() -> float:
        turns[0] += 1
        return seconds or (3600.0 if turns[0] % 2 else -3600.0)

    class Jumping(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Jumping:
            return cls.fromtimestamp(true() + off(), tz)

    events.tell("jump")
    time.time = lambda: true() + off()
    for module in (storage.publish, storage.runs, storage.store):
        module.datetime = Jumping  # type: ignore[attr-defined]
