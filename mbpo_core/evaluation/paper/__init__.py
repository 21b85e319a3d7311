"""Figures printed in the paper, and which of ours stand in the same column."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class PaperRow:
    """A row of a table of the paper."""

    table: int
    policy: str
    row: str
    values: tuple[float, ...]
    """One a column, on the paper's scale."""


@dataclass(frozen=True)
class Column:
    """A column of the paper's tables."""

    name: str
    ours: tuple[tuple[str, str], ...]
    """Benchmarks and metrics of ours that measure the same, the closest first."""
    factor: float
    """From our scale to the paper's."""
    better: int
    """1: more is better; -1: less is better."""


def paper_rows() -> list[PaperRow]:
    """Return Tables 1 to 3 of MBPO (arXiv 2506.08022), with the names of `columns()` in order."""
    return [
        PaperRow(each["table"], each["policy"], each["row"], tuple(each["values"]))
        for each in _document()["rows"]
    ]


def columns() -> list[Column]:
    """Return the paper's columns in order, and what of ours stands in each."""
    document = _document()
    return [
        Column(name, *_OURS[name], -1 if name in document["lower_is_better"] else 1)
        for name in document["columns"]
    ]


def source() -> tuple[str, ...]:
    """Return where the paper's figures are from, how they were measured, and what they show."""
    document = _document()
    return document["source"], document["how"], document["notes"]


def ours(metrics: Iterable[Mapping[str, Any]], column: Column) -> tuple[float, str] | None:
    """Return our figure for a column on the paper's scale, and which one it is; None for none.

    Args:
        metrics: rows with benchmark, kind, metric and value, of one model.
        column: of the paper.
    """
    found = {(row["benchmark"], row["metric"]): row["value"]
             for row in metrics if row["kind"] == "all" and row["value"] is not None}  # fmt: skip
    for benchmark, metric in column.ours:
        if (benchmark, metric) in found:
            return found[benchmark, metric] * column.factor, f"{benchmark} {metric}"
    return None


_OURS: dict[str, tuple[tuple[tuple[str, str], ...], float]] = {
    "AI2D": ((("ai2d", "accuracy"), ("lmms-eval/ai2d", "exact_match")), 100),
    "MME cognition": (
        (("mme", "cognition_score"), ("lmms-eval/mme", "mme_cognition_score")), 1),
    "MME perception": (
        (("mme", "perception_score"), ("lmms-eval/mme", "mme_perception_score")), 1),
    "MMStar": ((("mmstar", "average_l2"), ("lmms-eval/mmstar", "average")), 100),
    "MMVet": ((("mm_vet", "total"), ("lmms-eval/mmvet", "gpt_eval_score")), 1),
    "MMBench": (
        (("mmbench", "circular_accuracy"), ("lmms-eval/mmbench_en_dev", "gpt_eval_score")), 100),
    "MMHal score": ((("mmhal", "average_score"),), 1),
    "MMHal rate": ((("mmhal", "hallucination_rate"),), 1),
    "CHAIR_s": (
        (("object_halbench-judge", "chair_s_refine"), ("object_halbench", "chair_s_refine")), 100),
    "CHAIR_i": ((("object_halbench-judge", "chair_i"), ("object_halbench", "chair_i")), 100),
}  # fmt: skip


def _document() -> dict[str, Any]:
    text = (files(__package__) / "tables.json").read_text(encoding="utf-8")
    return json.loads(text)
