"""Stages in this process: no Prefect, no workers, one thread, and the code that runs elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mbpo_core.config import Recipe
from tasks.materialise import Materialised, Note
from tasks.pipeline import Choice, run_pipeline
from tasks.pool import WorkerPool
from tasks.registry import STAGES
from tasks.requests import job_of
from tasks.runtime import Runtime
from tasks.worker import compute


def in_this_process(
    request: Mapping[str, Any],
    shards: Sequence[int],
    done: Callable[[dict[str, Any]], None],
    note: Note,
) -> None:
    """Compute shards one after the other; takes the place of a pool of workers."""
    for shard in shards:
        done(compute(STAGES[request["stage"]], job_of(dict(request), "cpu"), shard))


def runtime(root: Path) -> Runtime:
    """Return how to run on one thread."""
    return Runtime(root=root, devices=("cpu",), workers=1)


def run_inline(recipe: Recipe, root: Path, only: Sequence[str] = ()) -> dict[str, Materialised]:
    """Run stages (all, or those) and return what they made."""
    how = runtime(root)
    with WorkerPool(how) as pool:
        choice = Choice(only=tuple(only))
        return run_pipeline(recipe, how, choice, pool, run_shards=in_this_process)
