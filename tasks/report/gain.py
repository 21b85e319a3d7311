"""How the signal that samples are picked by is spread, and where the cut lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.report.figures import Figure, edges_of, figure, histogram, mark
from tasks.report.sources import Row, Section, Sources, not_there

UNIT = {"iig_mean": "image information gain, nats a token",
        "iig_sum": "image information gain, nats a response"}  # fmt: skip
GROUPS = (("selected", "selected", "chosen"), ("below_top_k", "below the cut", "neutral"),
          ("not_presampled", "not in the random share", "faint"),
          ("closed_ended", "closed-ended (online)", "online"))  # fmt: skip
"""Reason of `select`, what it is called, its colour."""


def gain(sources: Sources) -> Section:
    """Return the distribution of the information gain, and of the answer entropy if it is there."""
    name, title = "gain", "What the picture adds"
    if "score" not in sources.refs:
        return not_there(name, title, "score")
    chosen = {row["sample_id"]: row for row in sources.rows(
        "select", "selection", ("sample_id", "chosen", "value", "key", "reason"))}  # fmt: skip
    key = next((row["key"] for row in chosen.values() if row["key"]), None) or "iig_mean"
    scored = [row for row in sources.rows("score", "scores", ("sample_id", key, "reason"))
              if row["reason"] is None and row[key] is not None]  # fmt: skip
    entropies = [row for row in sources.rows(
        "score", "entropies", ("sample_id", "entropy_mean", "reason"))
        if row["reason"] is None and row["entropy_mean"] is not None]  # fmt: skip
    figures, facts = [], []
    if scored:
        drawn, facts = _gain_figure(scored, chosen, key)
        figures.append(drawn)
    if entropies:
        figures.append(_entropy_figure([row["entropy_mean"] for row in entropies]))
    if not figures:
        return Section(name, title, missing="this recipe ranks no samples: none was scored")
    rows = len(scored) + len(entropies)
    return Section(name, title, rows, content={"facts": facts}, figures=tuple(figures))


def _gain_figure(
    scored: Sequence[Row], selection: dict[str, Row], key: str
) -> tuple[Figure, list[Any]]:
    values = {name: [row[key] for row in scored if _group(row, selection) == name]
              for name, _, _ in GROUPS}  # fmt: skip
    others = [row[key] for row in scored if _group(row, selection) not in values]
    everything = np.array([row[key] for row in scored])
    edges = edges_of(everything)
    shown = [(values[name], words, ink) for name, words, ink in GROUPS]
    shown.append((others, "not selected" if selection else "scored", "neutral"))
    traces = [histogram(those, edges, f"{words} ({len(those):,})", ink)
              for those, words, ink in shown if those]  # fmt: skip
    picked, cut = values["selected"], None
    ranked = any(row["key"] for row in selection.values())
    if ranked and picked:
        cut = min(picked)
    facts = [("scored", f"{len(scored):,}"), ("selected", f"{len(picked):,}")]
    facts += [("cut", f"{cut:.3f}")] if cut is not None else []
    facts += [("median, scored", f"{np.median(everything):.3f}")]
    facts += [("median, selected", f"{np.median(picked):.3f}")] if picked else []
    caption = (
        f"{UNIT[key][0].upper()}{UNIT[key][1:]}, of the {len(scored):,} scored samples (eq. 4); "
        + (f"the cut of the top k is {cut:.3f}." if cut is not None else "no cut: samples are "
           "taken unranked.")
    )  # fmt: skip
    layout = mark(cut, f"cut {cut:.3f}", "cut") if cut is not None else {}
    drawn = figure("iig", "Image information gain", caption, traces, UNIT[key], "samples", **layout)
    return drawn, facts


def _group(row: Row, selection: dict[str, Row]) -> str:
    found = selection.get(row["sample_id"])
    if found is None:
        return ""
    return "selected" if found["chosen"] else str(found["reason"])


def _entropy_figure(values: Sequence[float]) -> Figure:
    edges = edges_of(np.array(values))
    caption = (f"Entropy of the policy's own answers, nats a token, {len(values)} samples: the "
               "curriculum goes from easy (low) to hard.")  # fmt: skip
    return figure("entropy", "Answer entropy", caption, [histogram(values, edges, "scored",
                  "neutral")], "answer entropy, nats a token", "samples")  # fmt: skip
