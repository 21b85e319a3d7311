"""One run: a row on a base model with a seed, from data to the line that is kept of it."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.compare.runs import computed, side_by_side
from benchmarks.reproduce.bases import Base
from benchmarks.reproduce.ledger import Done, Ledger, Record, settings_id
from benchmarks.reproduce.rows import STEPS, Changes, Row, benchmarks, recipe_of
from mbpo_core.config import Recipe
from mbpo_core.recipes.measuring import STAGES, measuring
from storage.refs import ArtifactRef
from storage.store import ArtifactStore
from tasks.materialise import code_revision
from tasks.pipeline import Choice


@dataclass(frozen=True)
class Run:
    """One row on one base model with one seed."""

    row: Row
    base: Base
    part: str
    seed: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """What it is called where it ends or fails."""
        return f"{self.part} {self.row.name} {self.base.name} seed {self.seed}"


def run_of(
    row: Row,
    settings: Mapping[str, Changes],
    base: Base,
    part: str,
    seed: int,
    *,
    scenes: int | None = None,
    changes: Changes | None = None,
) -> Run:
    """Return the run of a row; a base model is measured once, with the seed 0."""
    if row.contestant is not None:
        recipe = recipe_of(
            row, settings, model=base.model, part=part, seed=seed, scenes=scenes, changes=changes
        )
        return Run(row, base, part, seed, recipe)
    recipe = measuring(
        benchmarks(part, scenes), answer={"max_new_tokens": 64}, evaluate={"bootstrap": 100}
    ).with_overrides({"policy": base.model, "scorer": base.model})
    return Run(row, base, part, 0, recipe)


def finished(each: Run, done: Done) -> Record | None:
    """Return what a run gave, None of one that is not done."""
    return done.find(each.recipe, fingerprint=each.base.fingerprint, part=each.part, seed=each.seed)


def run_all(
    runs: Iterable[Run], ledger: Ledger, root: Path, *, at_once: int = 1
) -> Iterator[tuple[Run, Record]]:
    """Do what is not done yet; yield each as its line is written. Raises as `side_by_side`."""

    def do(each: Run) -> Record:
        record = measured(each, root)
        ledger.append(record, each.recipe)
        return record

    done = ledger.read()
    missing = [each for each in runs if finished(each, done) is None]
    yield from side_by_side(missing, do, at_once)


def measured(each: Run, root: Path) -> Record:
    """Run the recipe and return its line.

    Raises ValueError where another number of optimiser steps was taken than all rows take.
    """
    trained = each.row.contestant is not None
    made, seconds = computed(each.recipe, root, None if trained else Choice(only=STAGES))
    store, revision = ArtifactStore(root), code_revision()
    kept = Record(
        row=each.row.name,
        part=each.part,
        base=each.base.name,
        fingerprint=each.base.fingerprint,
        seed=each.seed,
        recipe=settings_id(each.recipe),
        metrics=metrics_of(store.table(made["evaluate"].ref, "metrics").to_pylist()),
        scenes=scenes_of(store.table(made["evaluate"].ref, "predictions").to_pylist()),
        seconds=round(seconds, 1),
        machine=f"{platform.machine()}, torch {torch.__version__}",
        revision=revision[0] + ("+" if revision[1] else ""),
    )
    return _with_training(kept, each, store, made["train"].ref) if trained else kept


def _with_training(kept: Record, each: Run, store: ArtifactStore, train: ArtifactRef) -> Record:
    checkpoint = store.table(train, "checkpoint").to_pylist()[0]
    planned = each.recipe.train.max_steps
    if checkpoint["steps"] != planned or not planned:
        raise ValueError(f"{each.name} took {checkpoint['steps']} steps, not {planned or STEPS}")
    curves = gain_curves(store.table(train, "train_probes").to_pylist())
    steps = store.table(train, "train_steps", ["step", "reward"]).to_pylist()
    rewards = [[row["step"], round(row["reward"], 4)] for row in steps
               if row["reward"] is not None]  # fmt: skip
    return Record(
        **vars(kept) | {
            "curves": curves | ({"reward": rewards} if rewards else {}),
            "steps": checkpoint["steps"],
            "groups": [checkpoint["groups_offline"], checkpoint["groups_online"]],
        }
    )  # fmt: skip


def metrics_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return the figures of one model by split, kind and metric."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for row in rows:
        kinds = found.setdefault(row["benchmark"].removeprefix("embedded/"), {})
        value = None if row["value"] is None else round(row["value"], 5)
        kinds.setdefault(row["kind"], {})[row["metric"]] = value
    return found


def scenes_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[int]]]:
    """Return what each scene adds to accuracy and CHAIR, scenes in the order of their names."""
    sums: dict[str, dict[str, dict[str, int]]] = defaultdict(
        lambda: defaultdict(lambda: dict.fromkeys(_ADDED, 0))
    )
    for row in rows:
        scene = sums[row["benchmark"].removeprefix("embedded/")][row["unit"]]
        if row["correct"] is not None:
            scene["right"] += bool(row["correct"])
            scene["asked"] += 1
        if row["mentions"] is not None:
            scene["mentions"] += row["mentions"]
            scene["hallucinated"] += row["hallucinated"]
    return {
        split: {name: [scenes[unit][name] for unit in sorted(scenes)] for name in _ADDED}
        for split, scenes in sums.items()
    }


_ADDED = ("right", "asked", "mentions", "hallucinated")


def gain_curves(probes: Sequence[Mapping[str, Any]]) -> dict[str, list[list[float]]]:
    """Return the mean gain per token of chosen and rejected responses at each probe (eq. 4)."""
    at: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in probes:
        at[row["role"], row["step"]].append(row["iig_mean"])
    curves: dict[str, list[list[float]]] = {}
    for (role, step), gains in sorted(at.items()):
        curves.setdefault(role, []).append([step, round(fmean(gains), 4)])
    return curves
