"""The top of the page: what was done to what, and whether it helped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.report.sources import Section, Sources

_PARTS = (("miner", "mine.kind"), ("objective", "train.objective.kind"),
          ("curriculum", "train.curriculum.kind"), ("seed", "seed"))  # fmt: skip
CUT = 12
"""Characters of a revision."""


def summary(sources: Sources, sections: Mapping[str, Section]) -> dict[str, Any]:
    """Return what the top of the page reads, from the sections below it."""
    evaluation = sections["evaluation"].content
    stages = {each["stage"]: each for each in sections["stages"].content.get("stages", ())}
    return {
        "parts": [(name, sources.setting(dotted)) for name, dotted in _PARTS
                  if sources.setting(dotted) is not None],
        "models": [(role, _model(sources.setting(role))) for role in ("policy", "scorer")
                   if sources.setting(role) is not None],
        "numbers": [
            (words, stages[stage]["kept"])
            for stage, words in (("ingest", "samples"), ("select", "selected"),
                                 ("mine", "attacked pictures"), ("respond", "rejected responses"),
                                 ("pair", "groups"))
            if stage in stages
        ],
        "steps": sections["training"].rows,
        "headlines": evaluation.get("headlines", []),
        "tally": evaluation.get("tally", {}),
        "compared": evaluation.get("models", []),
    }  # fmt: skip


def _model(model: Mapping[str, Any]) -> str:
    if model.get("kind") == "embedded":
        return "the embedded tiny Qwen2-VL"
    revision = f" @ {model['revision'][:CUT]}" if model.get("revision") else ""
    return f"{model.get('name')}{revision}"
