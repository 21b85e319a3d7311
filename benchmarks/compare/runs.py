"""Runs of the comparison: each one cached by (row, seed, rate), two side by side, resumable."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare.rows import STEPS, Row, recipe_of
from mbpo_core.config import Recipe
from storage.files import atomic_write_text
from storage.store import ArtifactStore
from tasks.pipeline import Choice, run_pipeline
from tasks.pool import WorkerPool
from tasks.runtime import Runtime


@dataclass(frozen=True)
class Run:
    """One row with one seed (and, for a trial, one learning rate)."""

    row: Row
    part: str
    seed: int
    rate: float | None = None
    scenes: int = 100

    @property
    def name(self) -> str:
        """Names the file of its figures."""
        rate = "" if self.rate is None else f"-{self.rate:g}"
        return f"{self.part}-{self.row.name}{rate}-{self.seed}"

    @property
    def recipe(self) -> Recipe:
        """What is run."""
        return recipe_of(self.row, self.part, self.seed, self.rate, self.scenes)


@dataclass(frozen=True)
class Finished:
    """What a run gave."""

    metrics: list[dict[str, Any]]
    seconds: float
    """Of this run alone; what another run had made already took none."""
    learning_rate: float
    steps: int
    groups: int
    """Pairs and prompts that it was trained on."""


def run(each: Run, root: Path) -> Finished:
    """Run a recipe from data to metrics; what the store has is not computed again."""
    recipe = each.recipe
    how = Runtime(root=root, devices=("cpu",), workers=1)
    started = time.monotonic()
    with WorkerPool(how) as pool:
        made = run_pipeline(recipe, how, Choice(), pool)
    seconds = time.monotonic() - started
    store = ArtifactStore(root)
    checkpoint = store.table(made["train"].ref, "checkpoint").to_pylist()[0]
    if checkpoint["steps"] != STEPS:
        raise ValueError(f"{each.name} took {checkpoint['steps']} steps, all rows take {STEPS}")
    return Finished(
        store.table(made["evaluate"].ref, "metrics").to_pylist(),
        round(seconds, 1),
        recipe.train.learning_rate,
        checkpoint["steps"],
        checkpoint["groups_offline"] + checkpoint["groups_online"],
    )


def finished(each: Run, root: Path) -> Finished | None:
    """Return the figures of a run that is done, None of one that is not."""
    path = _file(each, root)
    return Finished(**json.loads(path.read_text())) if path.is_file() else None


def run_all(
    runs: Iterable[Run],
    root: Path,
    *,
    at_once: int = 2,
    do: Callable[[Run, Path], Finished] = run,
) -> Iterator[tuple[Run, Finished]]:
    """Do what is not done yet, some at a time; yield each as it ends.

    Raises the first failure after all others had their chance; what is done stays done.
    """
    missing = [each for each in runs if finished(each, root) is None]
    failures = []
    with ThreadPoolExecutor(at_once) as threads:
        waiting = {threads.submit(_done_and_kept, each, root, do): each for each in missing}
        for future in as_completed(waiting):
            if error := future.exception():
                failures.append(RuntimeError(f"{waiting[future].name}: {error}"))
            else:
                yield waiting[future], future.result()
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(missing)} runs failed", failures)


def _done_and_kept(each: Run, root: Path, do: Callable[[Run, Path], Finished]) -> Finished:
    result = do(each, root)
    _file(each, root).parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(_file(each, root), json.dumps(asdict(result)))
    return result


def _file(each: Run, root: Path) -> Path:
    """Other settings are another file: figures of another recipe are never taken for these."""
    settings = hashlib.sha256(each.recipe.model_dump_json().encode()).hexdigest()[:8]
    return root / "compare" / f"{each.name}-{settings}.json"
