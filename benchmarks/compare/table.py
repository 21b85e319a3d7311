"""From the figures of runs to the table: mean over seeds with a 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t as student

Figures = Mapping[str, float | None]

COLUMNS: dict[str, tuple[str, str]] = {
    "accuracy, typical": ("embedded/consistent", "accuracy"),
    "accuracy, counter": ("embedded/counter", "accuracy"),
    "accuracy, blank": ("embedded/consistent-blank", "accuracy"),
    "CHAIR_i": ("embedded/counter", "chair_i"),
    "CHAIR_s": ("embedded/counter", "chair_s"),
    "IIG": ("embedded/counter", "iig_mean"),
    "CHAIR_i, typical": ("embedded/consistent", "chair_i"),
    "CHAIR_s, typical": ("embedded/consistent", "chair_s"),
}
"""Benchmark and metric of each column, over all question kinds of the benchmark."""


def figures(metrics: Sequence[Mapping[str, Any]], model: str = "trained") -> dict[str, float]:
    """Return the columns that the metrics of one run have."""
    found = {
        (row["benchmark"], row["metric"]): row["value"]
        for row in metrics
        if row["model"] == model and row["kind"] == "all"
    }
    return {name: found[where] for name, where in COLUMNS.items() if where in found}


def quality(found: Figures) -> float:
    """What trials are chosen by: the mean of accuracy and 1 - CHAIR_i over both splits.

    Fixed before any trial was run; an undefined CHAIR_i (nothing mentioned at all) counts as 1.
    """
    accuracy = [found["accuracy, typical"], found["accuracy, counter"]]
    true = [
        0.0 if found[name] is None else 1 - found[name] for name in ("CHAIR_i", "CHAIR_i, typical")
    ]
    return fmean([*accuracy, *true])


@dataclass(frozen=True)
class Cell:
    """A figure over seeds."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """Return mean and half width."""
        half = (self.high - self.low) / 2
        return f"{self.mean:.3f}" if self.n == 1 else f"{self.mean:.3f} ± {half:.3f}"


def cell(values: Sequence[float | None]) -> Cell | None:
    """Return mean and Student's 95 % interval over seeds; None where no seed has a figure."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean = fmean(known)
    if len(known) == 1:
        return Cell(mean, mean, mean, 1)
    half = student.ppf(0.975, len(known) - 1) * stdev(known) / math.sqrt(len(known))
    return Cell(mean, mean - half, mean + half, len(known))


def summary(runs: Sequence[Figures]) -> dict[str, Cell | None]:
    """Return the cells of one row, from the figures of each of its seeds."""
    return {name: cell([run.get(name) for run in runs]) for name in COLUMNS}


def markdown(table: Mapping[str, Mapping[str, Any]], shown: Sequence[str]) -> str:
    """Return the table as text; `table` maps a row's name to its `cells`, `seeds` and `steps`."""
    lines = [f"| | {' | '.join(shown)} | seeds |", f"|---|{'---|' * (len(shown) + 1)}"]
    for name, row in table.items():
        if not row["seeds"]:
            lines.append(f"| {name} | {' | '.join(['not run'] * len(shown))} | 0 |")
            continue
        cells = [_text(row["cells"].get(column)) for column in shown]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['seeds']} |")
    return "\n".join(lines) + "\n"


def _text(found: Cell | Mapping[str, Any] | None) -> str:
    if found is None:
        return "undefined"
    return str(found if isinstance(found, Cell) else Cell(**found))
