"""Memory and CPU seconds of every process of a run, by what the process is."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from deployments.home import Home
from deployments.processes import leftovers

EVERY_SECONDS = 1.0
ROLES = ("server", "runner", "flow", "nursery", "worker")
NOTES = "memory.jsonl"


@contextmanager
def watched(home: Home, root: Path) -> Iterator[None]:
    """Look at the home's processes while the block runs, and note it in the store's folder."""
    root.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(EVERY_SECONDS):
            lines = [json.dumps([time.time(), *each]) + "\n" for each in _looked(home)]
            with (root / NOTES).open("a", encoding="utf-8") as file:
                file.writelines(lines)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _looked(home: Home) -> list[tuple[str, int, float, float]]:
    """Return role, id, resident MiB and CPU seconds of every process."""
    found = []
    for process in leftovers(home):
        try:
            role = role_of(process)
            times = process.cpu_times()
            mib = process.memory_info().rss / 2**20
        except psutil.Error:  # it ended in the meantime
            continue
        if role is not None:
            found.append((role, process.pid, round(mib, 1), times.user + times.system))
    return found


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


class Seen:
    """What was noted of a run."""

    def __init__(self, root: Path) -> None:
        lines = (root / NOTES).read_text(encoding="utf-8").splitlines()
        self._noted: list[tuple[float, str, int, float, float]] = list(map(json.loads, lines))

    def peak(self, role: str, begin: float = 0.0, end: float = float("inf")) -> float:
        """Return the most MiB that one process of a role had within a time; 0 = was not there."""
        found = (mib for when, seen, _, mib, _ in self._noted
                 if seen == role and begin <= when <= end)  # fmt: skip
        return max(found, default=0.0)

    def cpu_seconds(self) -> dict[str, float]:
        """Return CPU seconds by role, as each process was last seen."""
        last = {(role, pid): cpu for _, role, pid, _, cpu in self._noted}
        total: dict[str, float] = defaultdict(float)
        for (role, _), seconds in last.items():
            total[role] += seconds
        return {role: round(total[role], 1) for role in ROLES}
