"""`tasks.worker` with the stub for a model, which notes what each shard took."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

import tasks.answer
import tasks.inline
import tasks.mine
import tasks.respond
import tasks.score
import tasks.train_process
import tasks.worker
from benchmarks.size.stub import StubPolicy, open_stub, train_stub
from tasks.stage import Job, Stage

SLEEP = "MBPO_SIZE_ROW_SECONDS"
"""Environment variable of the benchmark: seconds that the stub sleeps for each row."""
NOTES = "shards.jsonl"
_OPENERS = (tasks.score, tasks.mine, tasks.respond, tasks.answer, tasks.train_process)


def compute(stage: Stage, job: Job, shard: int) -> dict[str, Any]:
    """Compute a shard as a worker does, and note when, how long and with how much memory."""
    began, cpu = time.time(), time.process_time()
    StubPolicy.seconds, StubPolicy.rows = 0.0, 0
    run, inside = stage.run, 0.0

    def timed(*of: Any) -> Any:
        nonlocal inside
        started = time.process_time()
        made = run(*of)
        inside = time.process_time() - started
        return made

    stage.run = timed  # type: ignore[method-assign]
    try:
        facts = _compute(stage, job, shard)
    finally:
        del stage.run
    note = {
        "stage": stage.name, "shard": shard, "pid": os.getpid(), "began": began,
        "ended": time.time(), "cpu_seconds": time.process_time() - cpu, "run_cpu_seconds": inside,
        "stub_seconds": StubPolicy.seconds, "stub_rows": StubPolicy.rows,
        "rss_mib": psutil.Process().memory_info().rss / 2**20,
    }  # fmt: skip
    with (job.store.root / NOTES).open("a", encoding="utf-8") as file:
        file.write(json.dumps(note) + "\n")
    return facts


_compute = tasks.worker.compute


@contextmanager
def stubbed() -> Iterator[None]:
    """Inside, stages open the stub for a model, and shards are noted."""
    replaced: list[tuple[Any, str, Any]] = [(each, "open_policy", open_stub) for each in _OPENERS]
    replaced += [(tasks.train_process, "train", train_stub)]
    replaced += [(module, "compute", compute) for module in (tasks.worker, tasks.inline)]
    kept = [getattr(module, name) for module, name, _ in replaced]
    for module, name, stub in replaced:
        setattr(module, name, stub)
    try:
        yield
    finally:
        for (module, name, _), own in zip(replaced, kept, strict=True):
            setattr(module, name, own)


def main(device: str) -> None:
    """Put the stub in place and serve."""
    StubPolicy.row_seconds = float(os.environ.get(SLEEP, "0"))
    with stubbed():
        tasks.worker.main(device)


def notes(root: Path) -> list[dict[str, Any]]:
    """Return what all workers noted, in order."""
    lines = (root / NOTES).read_text(encoding="utf-8").splitlines()
    return sorted(map(json.loads, lines), key=lambda note: note["began"])


if __name__ == "__main__":
    main(sys.argv[1])
