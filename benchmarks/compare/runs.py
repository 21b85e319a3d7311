"""Runs of the comparison: each one cached by (row, seed, rate), some side by side, resumable."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from benchmarks.compare.rows import STEPS, Row, recipe_of
from mbpo_core.config import Recipe
from storage.files import atomic_write_text
from storage.store import ArtifactStore
from tasks.materialise import Materialised
from tasks.pipeline import Choice, run_pipeline
from tasks.pool import WorkerPool
from tasks.runtime import Runtime


class Named(Protocol):
    """Something to do that has a name."""

    @property
    def name(self) -> str:
        """What it is called where it fails."""
        ...


Each = TypeVar("Each", bound=Named)
Made = TypeVar("Made")


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


def computed(
    recipe: Recipe, root: Path, choice: Choice | None = None
) -> tuple[dict[str, Materialised], float]:
    """Run a recipe on one CPU worker and return what it made and the seconds that it took.

    What the store has is not computed again.
    """
    how = Runtime(root=root, devices=("cpu",), workers=1)
    started = time.monotonic()
    with WorkerPool(how) as pool:
        made = run_pipeline(recipe, how, choice or Choice(), pool)
    return made, time.monotonic() - started


def run(each: Run, root: Path) -> Finished:
    """Run a recipe from data to metrics."""
    recipe = each.recipe
    made, seconds = computed(recipe, root)
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
    """Do what is not done yet, some at a time; yield each as it ends. Raises as `side_by_side`."""
    missing = [each for each in runs if finished(each, root) is None]
    yield from side_by_side(missing, lambda each: _done_and_kept(each, root, do), at_once)


def side_by_side(
    missing: Sequence[Each], do: Callable[[Each], Made], at_once: int
) -> Iterator[tuple[Each, Made]]:
    """Do all, some at a time, in their order; yield each as it ends.

    Raises an ExceptionGroup of what failed after all others had their chance.
    """
    failures = []
    with ThreadPoolExecutor(at_once) as threads:
        waiting = {threads.submit(do, each): each for each in missing}
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
