"""Stages in this process: no Prefect, no workers, one thread, and the code that runs elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mbpo_core.config import Recipe
from tasks.inline import inline
from tasks.materialise import Materialised
from tasks.pipeline import Choice, run_pipeline
from tasks.pool import WorkerPool
from tasks.runtime import Runtime


def runtime(root: Path) -> Runtime:
    """Return how to run on one thread."""
    return Runtime(root=root, devices=("cpu",), workers=1)


def run_inline(recipe: Recipe, root: Path, only: Sequence[str] = ()) -> dict[str, Materialised]:
    """Run stages (all, or those) and return what they made."""
    how = runtime(root)
    with WorkerPool(how) as pool:
        choice = Choice(only=tuple(only))
        return run_pipeline(recipe, how, choice, pool, run_shards=inline())
