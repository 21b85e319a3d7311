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


Place = tuple[str, str, str, float]
"""Benchmark, kind and metric, and the factor from its scale to the paper's."""


@dataclass(frozen=True)
class Column:
    """A column of the paper's tables."""

    name: str
    ours: tuple[Place, ...]
    """What measures the same here, the closest first."""
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
        Column(name, _OURS[name], -1 if name in document["lower_is_better"] else 1)
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
    found = {(row["benchmark"], row["kind"], row["metric"]): row["value"]
             for row in metrics if row["value"] is not None}  # fmt: skip
    for *place, factor in column.ours:
        if tuple(place) in found:
            benchmark, kind, metric = place
            return found[benchmark, kind, metric] * factor, f"{benchmark} {metric} ({kind})"
    return None


_JUDGED = "object_halbench-judge"
_CHAIR = (
    (_JUDGED, "judge:spacy:en_core_web_trf"), (f"{_JUDGED}-nltk", "judge:nltk"),
    ("object_halbench", "words"),
)  # fmt: skip
"""Object HalBench, the closest to the paper's first; without a judge it counts other words."""
_OURS: dict[str, tuple[Place, ...]] = {
    "AI2D": (("ai2d", "all", "accuracy", 100),
             ("lmms-eval/ai2d", "all", "exact_match[flexible-extract]", 100)),
    "MME cognition": (("mme", "cognition", "score", 1),
                      ("lmms-eval/mme", "all", "mme_cognition_score", 1)),
    "MME perception": (("mme", "perception", "score", 1),
                       ("lmms-eval/mme", "all", "mme_perception_score", 1)),
    "MMStar": (("mmstar", "all", "average_l2", 100), ("lmms-eval/mmstar", "all", "average", 100)),
    "MMVet": (("mm_vet", "all", "score", 1), ("lmms-eval/mmvet", "all", "gpt_eval_score", 1)),
    "MMBench": (("mmbench", "all", "circular", 100),
                ("lmms-eval/mmbench_en_dev", "all", "gpt_eval_score", 1)),
    "MMHal score": (("mmhal", "all", "average_score", 1),),
    "MMHal rate": (("mmhal", "all", "hallucination_rate", 1),),
    "CHAIR_s": tuple((*place, "CHAIRs_refine", 100) for place in _CHAIR),
    "CHAIR_i": tuple((*place, "CHAIRi", 100) for place in _CHAIR),
}  # fmt: skip


def _document() -> dict[str, Any]:
    text = (files(__package__) / "tables.json").read_text(encoding="utf-8")
    return json.loads(text)
