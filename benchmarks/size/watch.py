"""Memory and CPU seconds of every process of a run, by what the process is."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from deployments.home import Home
from deployments.processes import leftovers

EVERY_SECONDS = 1.0
ROLES = ("server", "runner", "flow", "nursery", "worker")


@dataclass
class Watched:
    """What was seen, one entry a look."""

    memory: list[tuple[float, str, float]] = field(default_factory=list)
    """When (seconds since the epoch), role, and MiB resident in the largest process of it."""
    cpu: dict[tuple[str, int], float] = field(default_factory=dict)
    """CPU seconds by role and process, as last seen."""

    def peak(self, role: str, begin: float = 0.0, end: float = float("inf")) -> float:
        """Return the most MiB that a role had within a time; 0 if it was not there."""
        found = (mib for when, seen, mib in self.memory if seen == role and begin <= when <= end)
        return max(found, default=0.0)

    def cpu_seconds(self) -> dict[str, float]:
        """Return CPU seconds by role."""
        total: dict[str, float] = defaultdict(float)
        for (role, _), seconds in self.cpu.items():
            total[role] += seconds
        return dict(total)


@contextmanager
def watched(home: Home) -> Iterator[Watched]:
    """Look at the home's processes while the block runs."""
    seen, stop = Watched(), threading.Event()

    def look() -> None:
        while not stop.wait(EVERY_SECONDS):
            _look(home, seen)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def _look(home: Home, seen: Watched) -> None:
    largest: dict[str, float] = {}
    for process in leftovers(home):
        try:
            role = role_of(process)
            mib = process.memory_info().rss / 2**20
            times = process.cpu_times()
        except psutil.Error:  # it ended in the meantime
            continue
        if role is not None:
            largest[role] = max(mib, largest.get(role, 0.0))
            seen.cpu[role, process.pid] = times.user + times.system
    now = time.time()
    seen.memory += [(now, role, mib) for role, mib in largest.items()]


def role_of(process: psutil.Process) -> str | None:
    """Return what a process of a run is; a worker is a fork and looks like its nursery."""
    words = process.cmdline()
    if "tasks.nursery" in words:
        parent = process.parent()
        forked = parent is not None and "tasks.nursery" in parent.cmdline()
        return "worker" if forked else "nursery"
    marks = {"prefect": "server", "deployments.serve": "runner", "prefect.flow_engine": "flow",
             "prefect.engine": "flow"}  # fmt: skip
    return next((role for mark, role in marks.items() if mark in words), None)
