"""Which figures of an evaluation are shown first, on the command line and in the report."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from mbpo_core.evaluation.benchmarks import BENCHMARKS
from mbpo_core.evaluation.metrics import FAILURES


def is_shown(row: dict[str, Any], pooled: Set[tuple[str, str]]) -> bool:
    """Say whether a row of `metrics` is shown where not every kind is.

    Of our own benchmarks every kind of question is, of the published ones the figures over all
    questions. `pooled` are the pairs of benchmark and metric that have such a figure.
    """
    if row["benchmark"].startswith("embedded/"):
        return row["kind"] != "all" or row["metric"] in ("iig_mean", *FAILURES)
    definition = BENCHMARKS.get(row["benchmark"])
    if definition is None or row["kind"] in definition.shown:
        return True
    return (row["benchmark"], row["metric"]) not in pooled
