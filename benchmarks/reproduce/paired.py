"""Paired differences of two rows with 95 % intervals.

The unit is a base model with a seed of the run: both rows have been run on it and answered the same
questions. Two intervals, since two things vary: Student's over the units (training), and a
hierarchical bootstrap that draws seeds within each base model and the scenes that were asked about.
Base models are few, so they are taken as given; each one's difference is told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.compare.table import Cell, cell
from benchmarks.reproduce.ledger import Record

Unit = tuple[str, int]
"""Base model and seed."""
Runs = Mapping[Unit, Record]
Floats = NDArray[np.float64]

COLUMNS: dict[str, tuple[str, str]] = {
    "CHAIR_i": ("counter", "chair_i"),
    "CHAIR_s": ("counter", "chair_s"),
    "accuracy, counter": ("counter", "accuracy"),
    "accuracy, typical": ("consistent", "accuracy"),
    "colour, counter": ("counter", "color"),
    "IIG": ("counter", "iig_mean"),
}
"""Split and metric, over all kinds of questions; `color` is the accuracy of that kind alone."""
BETTER = {"CHAIR_i": -1, "CHAIR_s": -1}
"""Less is better; of all others more is."""
DRAWS = 2000


def value(run: Record, column: str) -> float | None:
    """Return a figure of one run; None where it is undefined or was not measured."""
    if column in CURVES:
        return CURVES[column](run)
    split, metric = COLUMNS[column]
    kind, name = ("color", "accuracy") if metric == "color" else ("all", metric)
    return run.metrics.get(split, {}).get(kind, {}).get(name)


def _rise(run: Record, name: str, ends: int = 1) -> float | None:
    """Return how much higher a curve ends than it begins, as means over `ends` points."""
    points = [point[1] for point in run.curves.get(name, ())]
    if len(points) < 2 * ends:
        return None
    return float(np.mean(points[-ends:]) - np.mean(points[:ends]))


def _gap(run: Record) -> float | None:
    chosen, rejected = _rise(run, "chosen"), _rise(run, "rejected")
    return None if chosen is None or rejected is None else chosen - rejected


CURVES = {
    "rise of the chosen gain": lambda run: _rise(run, "chosen"),
    "rise of the rejected gain": lambda run: _rise(run, "rejected"),
    "rise of the gap": _gap,
    "rise of the reward": lambda run: _rise(run, "reward", ends=20),
}
"""Figures of training curves: the last probe less the first; of the reward, means of 20 steps."""


@dataclass(frozen=True)
class Difference:
    """`a - factor * b` over the units that both have."""

    student: Cell | None
    """Over units; None without any."""
    bootstrap: tuple[float, float] | None
    """Over seeds and scenes; None where no scene has a part of the figure."""
    by_base: Mapping[str, Cell]
    """Each base model alone, with Student's interval over its seeds."""

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The outer bounds of both intervals; None where fewer than two units leave none."""
        if self.student is None or self.student.n < 2:
            return None
        low, high = self.student.low, self.student.high
        if self.bootstrap is None:
            return low, high
        return min(low, self.bootstrap[0]), max(high, self.bootstrap[1])


def has_seeds(runs: Runs) -> bool:
    """Return whether a base model has several runs: two base models alone make no interval."""
    return len(runs) > len({base for base, _ in runs})


def paired(a: Runs, b: Runs, column: str, factor: float = 1.0, draws: int = DRAWS) -> Difference:
    """Return `a - factor * b` of a figure.

    Runs of `b` that have no seed of their own (the base model) stand for all seeds; units that are
    missing on one side, or where a figure is undefined, are left out.
    """
    matched = {unit: (a[unit], run) for unit in sorted(a) if (run := _partner(unit, b))}
    known = {unit: (x - factor * y, left, right) for unit, (left, right) in matched.items()
             if (x := value(left, column)) is not None
             and (y := value(right, column)) is not None}  # fmt: skip
    bases: dict[str, list[float]] = {}
    for (base, _), (difference, _, _) in known.items():
        bases.setdefault(base, []).append(difference)
    return Difference(
        cell([each[0] for each in known.values()]),
        _bootstrap(list(known), [each[1:] for each in known.values()], column, factor, draws),
        {base: found for base, each in bases.items() if (found := cell(each))},
    )


def alone(a: Runs, column: str, draws: int = DRAWS) -> Difference:
    """Return a figure itself with the same intervals."""
    return paired(a, a, column, 0.0, draws)


def _partner(unit: Unit, runs: Runs) -> Record | None:
    found = runs.get(unit)
    if found is None:
        untrained = runs.get((unit[0], 0))
        return untrained if untrained is not None and untrained.row == "base" else None
    return found


def _bootstrap(
    units: Sequence[Unit],
    runs: Sequence[tuple[Record, Record]],
    column: str,
    factor: float,
    draws: int,
) -> tuple[float, float] | None:
    """Percentiles of the mean difference under drawn seeds and scenes; the same scenes for all."""
    terms = [[_terms(run, column) for run in pair] for pair in runs]
    if not terms or any(each is None for pair in terms for each in pair):
        return None
    stacked = np.array(terms, dtype=np.float64)  # [units, 2, scenes, 2]
    rng = np.random.default_rng(0)
    scenes = stacked.shape[2]
    counts = rng.multinomial(scenes, np.full(scenes, 1 / scenes), size=draws)
    sums = np.einsum("ds,upsk->dupk", counts, stacked)
    shares = np.divide(sums[..., 0], sums[..., 1], out=np.full(sums.shape[:-1], np.nan),
                       where=sums[..., 1] > 0)  # fmt: skip
    spread = shares[..., 0] - factor * shares[..., 1]
    means = np.take_along_axis(spread, _drawn_seeds(units, draws, rng), axis=1).mean(axis=1)
    low, high = np.nanquantile(means, [0.025, 0.975])
    return float(low), float(high)


def _drawn_seeds(
    units: Sequence[Unit], draws: int, rng: np.random.Generator
) -> NDArray[np.int64]:  # fmt: skip
    """Return places of units, `[draws, units]`: seeds with replacement within their base model."""
    parts = []
    for base in sorted({base for base, _ in units}):
        places = np.array([place for place, unit in enumerate(units) if unit[0] == base])
        parts.append(places[rng.integers(0, len(places), (draws, len(places)))])
    return np.concatenate(parts, axis=1)


def _terms(run: Record, column: str) -> list[tuple[int, int]] | None:
    """Return what each scene adds above and below the figure's fraction."""
    if column not in COLUMNS:
        return None
    split, metric = COLUMNS[column]
    scenes = run.scenes.get(split)
    if scenes is None or metric not in ("chair_i", "chair_s", "accuracy"):
        return None
    if metric == "accuracy":
        return list(zip(scenes["right"], scenes["asked"], strict=True))
    if metric == "chair_i":
        return list(zip(scenes["hallucinated"], scenes["mentions"], strict=True))
    return [(int(wrong > 0), 1) for wrong in scenes["hallucinated"]]
