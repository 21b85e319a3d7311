"""kill -9, SIGTERM and Ctrl-C, at random instants and at the named ones that hurt most."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.faults.events import Events, redone, redone_whole
from benchmarks.faults.flows import Flow, start
from benchmarks.faults.trials import Outcome, Trial
from benchmarks.faults.world import Broken, World, check_visible, recipe
from tasks.registry import ORDER

LAUNCHERS = {
    "launcher": (sys.executable,),
    "torchrun": (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "1"),
}
TRAINER = "tasks.train_process"
ATTEMPTS = 12
"""A random instant may fall after the end; then another one is drawn."""
END_SECONDS = 20.0
"""A run that was asked to end must be gone by then."""


@dataclass(frozen=True)
class Point:
    """A named instant: just before or after one change of the disk."""

    process: str
    """`worker` or `flow`: who reaches it, and dies there."""
    call: str
    """Function of `os` or `torch`."""
    after: bool
    hits: Callable[[str], bool]
    """Says of the last path of the call whether it is the one."""


def _artifact(path: str) -> bool:
    return Path(path).parent.parent.name == "artifacts"


POINTS = {
    "before a part": Point("worker", "rename", False, lambda p: Path(p).name.startswith("shard-")),
    "after a part": Point("worker", "rename", True, lambda p: Path(p).name.startswith("shard-")),
    "before the manifest": Point("flow", "replace", False, lambda p: p.endswith("manifest.json")),
    "after the manifest": Point("flow", "replace", True, lambda p: p.endswith("manifest.json")),
    "before the artifact": Point("flow", "rename", False, _artifact),
    "after the artifact": Point("flow", "rename", True, _artifact),
    "inside a checkpoint": Point("worker", "save", True, lambda p: p.endswith("optimizer.pt")),
}


def trials(instants: int) -> list[Trial]:
    """Return the trials of all stages; `instants` random ones for each of worker and flow."""
    few = max(1, instants // 5)
    counts = {"worker": instants, "flow": instants, "SIGTERM": few, "Ctrl-C": few}
    counts |= {point: max(1, instants // 15) for point in POINTS if "checkpoint" not in point}
    every = [
        Trial("kill", case, stage, number)
        for case, count in counts.items() for stage in ORDER for number in range(count)
    ]  # fmt: skip
    counts = {"inside a checkpoint": few, "launcher": instants, "torchrun": few, "its worker": few}
    return every + [
        Trial("kill", case, "train", number)
        for case, count in counts.items() for number in range(count)
    ]  # fmt: skip


def perform(trial: Trial, world: World, box: Path) -> Outcome:
    """Kill, look, start again, compare."""
    for number in range(ATTEMPTS):
        place = box / f"{number}"
        root = world.before(trial.stage, place / "store")
        workers = 1 + trial.number % 2
        flow = _start(trial, place, root, workers, world.spans[trial.stage]["shards"])
        try:
            struck = _strike(trial, world, flow, number)
            code = _wait(trial, flow, struck)
        finally:
            flow.destroy()
        if struck:
            break
        if code:
            raise Broken(f"ended with {code} by itself:\n{flow.log[-2000:]}")
    else:
        raise Broken(f"it was always over before, {ATTEMPTS} times")
    check_visible(root)
    world.check(root, ORDER[: ORDER.index(trial.stage)])
    if code:
        _again(trial, world, place, root, workers)
    return _judge(trial, world, flow, root, workers, code)


def _start(trial: Trial, place: Path, root: Path, workers: int, parts: int) -> Flow:
    options: dict[str, Any] = {"workers": workers, "catalogue": trial.number % 5 == 0}
    if trial.case in LAUNCHERS or trial.case == "its worker":
        options["train_launcher"] = LAUNCHERS.get(trial.case, LAUNCHERS["torchrun"])
    if trial.case in POINTS:
        skip = trial.random().randrange(parts) if "part" in trial.case else trial.number
        point = POINTS[trial.case]
        options["arm"] = lambda events: armed(point, place / "struck", skip, events)
    return start(place, root, recipe(), (trial.stage,), **options)


def armed(point: Point, once: Path, skip: int, events: Events) -> None:
    """Patch this fork so that its process (or the workers forked from it) dies at a point.

    Once alone: whoever comes there first makes the file `once`. `skip` passes go unharmed, if the
    stage has that many.
    """
    module, flow = (torch if point.call == "save" else os), os.getpid()
    original, passes = getattr(module, point.call), [0]

    def die(path: str) -> None:
        if (os.getpid() == flow) != (point.process == "flow") or not point.hits(path):
            return
        passes[0] += 1
        if passes[0] <= skip and not _last(path, skip):
            return
        try:
            os.close(os.open(once, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        events.tell("struck")
        os.kill(os.getpid(), signal.SIGKILL)

    def call(first: Any, second: Any = None, *rest: Any, **named: Any) -> Any:
        path = str(second)
        if not point.after:
            die(path)
        result = original(first, second, *rest, **named)
        if point.after:
            die(path)
        return result

    setattr(module, point.call, call)


def _last(path: str, skip: int) -> bool:
    """Say whether nothing like it may come again: only parts come several times."""
    return not Path(path).name.startswith("shard-") or Path(path).name >= f"shard-{skip:05d}"


def _strike(trial: Trial, world: World, flow: Flow, again: int) -> bool:
    """Do what the trial says; return False where there was nothing left to meet."""
    if trial.case in POINTS:
        flow.wait()
        return (flow.box / "struck").exists()
    rng = trial.random()
    share = [rng.random() for _ in range(again + 1)][-1] * 0.9**again
    span = world.spans[trial.stage]
    if trial.case in ("flow", "SIGTERM", "Ctrl-C"):
        return _signal_flow(trial.case, flow, share * span["flow"])
    if not _await(flow, lambda: _working(flow)):
        return False
    if trial.case == "worker":
        return _sleep(flow, share * span["work"]) and _kill(_working(flow))
    # The training process first imports for some seconds.
    if not _await(flow, lambda: _trainer(flow, trial.case)):
        return False
    seconds = share * (span["work"] + 3.0)
    return _sleep(flow, seconds) and _kill(_trainer(flow, trial.case))


def _signal_flow(case: str, flow: Flow, seconds: float) -> bool:
    _await(flow, lambda: bool(flow.events()))
    if not _sleep(flow, seconds):
        return False
    if case == "Ctrl-C":
        os.killpg(flow.pid, signal.SIGINT)
    else:
        os.kill(flow.pid, signal.SIGKILL if case == "flow" else signal.SIGTERM)
    return True


def _await(flow: Flow, condition: Callable[[], Any]) -> bool:
    while flow.poll() is None:
        if condition():
            return True
        time.sleep(0.003)
    return False


def _sleep(flow: Flow, seconds: float) -> bool:
    """Sleep; return whether the run still runs."""
    time.sleep(seconds)
    return flow.poll() is None


def _working(flow: Flow) -> int | None:
    """Return the process that began a shard last."""
    begun = [event["pid"] for event in flow.events() if event["what"] == "begin"]
    return begun[-1] if begun else None


def _trainer(flow: Flow, case: str) -> int | None:
    """Return the process of training: the launcher's child, or the launcher itself."""
    for process in flow.family():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        launcher = "torch.distributed.run" in words
        if TRAINER in words and (launcher or case == "launcher"):
            if case != "its worker":
                return process.pid
            children = [c.pid for c in process.children() if TRAINER in c.cmdline()]
            return children[0] if children else None
    return None


def _kill(pid: int | None) -> bool:
    try:
        if pid is None or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return False
        os.kill(pid, signal.SIGKILL)
    except (psutil.Error, ProcessLookupError):
        return False
    return True


def _wait(trial: Trial, flow: Flow, struck: bool) -> int:
    asked = struck and trial.case in ("flow", "SIGTERM", "Ctrl-C")
    code = flow.wait(END_SECONDS if asked else 300.0)
    if struck and (rest := flow.linger()):
        raise Broken(f"still running after the end: {rest}")
    return code


def _again(trial: Trial, world: World, place: Path, root: Path, workers: int) -> None:
    flow = start(place, root, recipe(), (trial.stage,), workers=workers, catalogue=False)
    code = flow.wait()
    flow.destroy()
    if code:
        raise Broken(f"the restart ended with {code}:\n{flow.log[-3000:]}")


def _judge(trial: Trial, world: World, flow: Flow, root: Path, workers: int, code: int) -> Outcome:
    world.check(root, (trial.stage,))
    check_visible(root)
    staged = [p for p in (root / "staging").glob("*/*") if any(p.iterdir())]
    if staged:
        raise Broken(f"left in staging: {staged[0].name}")
    events = flow.events()
    if whole := redone_whole(events):
        raise Broken(f"computed although stored: {whole}")
    lost = workers if trial.case in ("flow", "SIGTERM", "Ctrl-C") or trial.case in POINTS else 1
    if redone(events) > lost:
        raise Broken(f"{redone(events)} shards redone by {lost} lost workers")
    return Outcome(redone(events), {"died": code != 0, "workers": workers})
