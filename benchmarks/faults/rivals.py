"""Two runs of one stage at once: one builds, the other waits; and takes over from a dead one."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from benchmarks.faults.events import computed, read_events, redone_whole
from benchmarks.faults.flows import Flow, start
from benchmarks.faults.trials import Outcome, Trial
from benchmarks.faults.world import Broken, World, check_visible, recipe
from tasks.registry import ORDER

BOTH, KILLED = "both live", "the builder is killed"


def trials(instants: int) -> list[Trial]:
    """Return both cases for every stage."""
    several = max(1, instants // 6)
    return [Trial("two runs", case, stage, n)
            for case in (BOTH, KILLED) for n in range(several) for stage in ORDER]  # fmt: skip


def perform(trial: Trial, world: World, box: Path) -> Outcome:
    """Start a stage twice, with pools of different size, and see who computes what."""
    root = world.before(trial.stage, box / "store")
    flows = [_start(box / f"{n}", root, trial.stage, 1 + n) for n in range(2)]
    struck = trial.case == KILLED and _kill_the_builder(trial, world, flows)
    codes = [flow.wait() for flow in flows]
    rest = [said for flow in flows for said in flow.linger()]
    if rest:
        raise Broken(f"still running after the end: {rest}")
    if codes.count(0) < (1 if struck else 2):
        raise Broken(f"ended with {codes}:\n{flows[0].log[-1500:]}\n{flows[1].log[-1500:]}")
    check_visible(root)
    world.check(root, ORDER[: ORDER.index(trial.stage) + 1])
    told = sorted((e for flow in flows for e in flow.events()), key=lambda e: e["at"])
    again = len(computed(told)) - len(set(computed(told)))
    if redone_whole(told) or again > 2 * struck:  # two workers may have died with the builder
        raise Broken(f"{again} shards were computed twice")
    return Outcome(again, {"killed": bool(struck)})


def _start(box: Path, root: Path, stage: str, workers: int) -> Flow:
    return start(box, root, recipe(), (stage,), workers=workers, catalogue=False)


def _kill_the_builder(trial: Trial, world: World, flows: list[Flow]) -> bool:
    """Kill whoever computes the first shard, at a random instant of the stage's work."""
    while not any(begun := [computed(read_events(f.box / "events")) for f in flows]):
        if all(flow.poll() is not None for flow in flows):
            return False
        time.sleep(0.003)
    builder = flows[0] if begun[0] else flows[1]
    time.sleep(trial.random().random() * world.spans[trial.stage]["work"])
    if builder.poll() is not None:
        return False
    os.kill(builder.pid, signal.SIGKILL)
    return True
