"""A run of the pipeline in a fork of this process, with a session of its own.

The fork has everything imported already, so that a trial costs the stage and not the imports. It
runs the product's code: pool, nursery and workers are the real ones, only that the nursery too is
a fork and no new interpreter. Nothing in the product knows of this.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import torch

import tasks.pipeline
import tasks.pool
import tasks.stage
import tasks.worker
from benchmarks.faults.events import Event, Events, read_events
from mbpo_core.config import Recipe
from storage.store import ArtifactStore
from tasks.models import open_policy
from tasks.nursery import Nursery, _serve
from tasks.pipeline import Choice, run_pipeline
from tasks.pool import WorkerPool
from tasks.registry import STAGES
from tasks.runtime import Runtime
from tasks.stage import Job, Stage

MARK = "MBPO_FAULT_TRIAL"
"""Environment variable that programs started by a run inherit; forks are told by their session."""
Arm = Callable[[Events], None]
"""Changes a fork of this process before it runs: patches for that run alone."""


class Flow:
    """The handle of a forked run."""

    def __init__(self, pid: int, box: Path) -> None:
        self.pid = pid
        self.box = box
        self.code: int | None = None

    @property
    def log(self) -> str:
        """Return what the run said."""
        return (self.box / "log").read_text(encoding="utf-8", errors="replace")

    def events(self) -> list[Event]:
        """Return what all runs of this box have told."""
        return read_events(self.box / "events")

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self, seconds: float = 300.0) -> int:
        """Wait for its end; after `seconds` kill all of it and raise TimeoutError."""
        deadline = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                self.destroy()
                raise TimeoutError(f"the run did not end within {seconds:g} s")
            time.sleep(0.005)
        return code

    def family(self) -> list[psutil.Process]:
        """Return the living processes of its session and those that carry its mark."""
        return [p for p in psutil.process_iter() if p.pid != self.pid and self._mine(p)]

    def _mine(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if os.getsid(process.pid) == self.pid:
                return True
            return process.environ().get(MARK) == str(self.box)
        except (psutil.Error, ProcessLookupError):
            return False

    def linger(self, seconds: float = 15.0) -> list[str]:
        """Return the command lines of what still runs `seconds` after the run's end, and end it."""
        deadline = time.monotonic() + seconds
        while (rest := self.family()) and time.monotonic() < deadline:
            time.sleep(0.05)
        said = [" ".join(p.cmdline()) for p in rest if p.is_running()]
        self.destroy()
        return said

    def destroy(self) -> None:
        """End every process of the run."""
        for pid in [self.pid] * (self.code is None) + [p.pid for p in self.family()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def start(
    box: Path,
    root: Path,
    recipe: Recipe,
    stages: Sequence[str] = (),
    *,
    workers: int = 1,
    arm: Arm | None = None,
    catalogue: bool = True,
    refresh: Sequence[str] = (),
    **runtime: Any,
) -> Flow:
    """Start stages (default: all) on a store; `box` takes log and events of all its runs.

    Without `catalogue` that index, half a second of every run, is not rebuilt.
    """
    box.mkdir(parents=True, exist_ok=True)
    how = Runtime(root=root, devices=("cpu",), workers=workers, **runtime)
    choice = Choice(only=tuple(stages), refresh=tuple(refresh))

    def work(events: Events) -> None:
        if not catalogue:
            tasks.pipeline.CatalogueKeeper = _NoKeeper  # type: ignore[misc]
        _run(recipe, how, choice, events)

    return fork(box, work, arm)


def warm_up(recipe: Recipe) -> None:
    """Read once what every run reads: the project's code for its hashes, the model's weights."""
    torch.set_num_threads(1)
    tasks.stage.code_closure = cache(tasks.stage.code_closure)
    for stage in STAGES.values():
        stage.identity(recipe, Runtime(), {})
    open_policy(recipe.policy, "cpu")
    gc.collect()
    gc.freeze()


class _NoKeeper:
    def __init__(self, store: ArtifactStore) -> None:
        del store

    def refresh(self) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


def fork(box: Path, work: Callable[[Events], None], arm: Arm | None = None) -> Flow:
    """Do some work in a fork with a session of its own."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return Flow(pid, box)
    code = 1
    try:
        events = _alone(box)
        if arm:
            arm(events)
        work(events)
        code = 0
    except BaseException:  # whatever it is: the loop of the parent must not go on in its fork
        traceback.print_exc()
    finally:
        threading._shutdown()  # an interpreter waits for its threads too before it ends
        sys.stderr.flush()
        os._exit(code)
    raise AssertionError


def _alone(box: Path) -> Events:
    os.setsid()
    log = os.open(box / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ[MARK] = str(box)
    return Events(box / "events")


def _run(recipe: Recipe, how: Runtime, choice: Choice, events: Events) -> None:
    tasks.worker.compute = _watched(tasks.worker.compute, events)
    tasks.pool.Nursery = ForkedNursery  # type: ignore[misc]
    events.tell("flow")
    with WorkerPool(how) as pool:
        made = run_pipeline(
            recipe, how, choice, pool, note=lambda text: events.tell("note", text=text)
        )
    store = ArtifactStore(how.root)
    for stage, each in made.items():
        at = store.path(each.ref)
        events.tell("made", stage=stage, content=each.ref.content, hit=each.hit, path=at.name)


def _watched(compute: Callable[..., Any], events: Events) -> Callable[..., Any]:
    def call(stage: Stage, job: Job, shard: int) -> Any:
        events.tell("begin", stage=stage.name, shard=shard)
        facts = compute(stage, job, shard)
        events.tell("end", stage=stage.name, shard=shard)
        return facts

    return call


class ForkedNursery(Nursery):
    """The nursery as a fork, made while this process has one thread; later ones are programs."""

    def __init__(self, module: str, environment: dict[str, str], log: Path) -> None:
        super().__init__(module, environment, log)
        self._control, there = socket.socketpair()
        pid = os.fork()
        if not pid:
            _nurse(self._control, there)
        there.close()
        self._process = _Child(pid)  # type: ignore[assignment]


def _nurse(control: socket.socket, there: socket.socket) -> None:
    try:
        control.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        gc.freeze()
        _serve(there, tasks.worker)
    finally:
        os._exit(0)


class _Child:
    """What `Nursery` wants of a Popen."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = False

    def poll(self) -> int | None:
        if not self._ended:
            self._ended = os.waitpid(self.pid, os.WNOHANG)[0] == self.pid
        return 0 if self._ended else None

    def kill(self) -> None:
        if not self._ended:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        if not self._ended:
            os.waitpid(self.pid, 0)
            self._ended = True
        return 0
