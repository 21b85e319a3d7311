"""What each stage took in, gave on and refused, with an example of every reason."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tasks.failures import FAILURES, is_failure
from tasks.report.sources import Row, Section, Sources, not_there

SAID = ("question", "response", "text", "detail")
"""Columns that tell a person what a row is, where a table has them."""
CUT = 200
"""Characters of an example."""


def counts(sources: Sources) -> Section:
    """Return the table of stages and that of refusals."""
    name, title = "stages", "Stages"
    if not sources.refs:
        return not_there(name, title, "stage")
    stages, refused = [], []
    for stage in (name for name in FAILURES if name in sources.refs):
        rows = _judged(sources, stage)
        reasons = Counter(row["reason"] for row in rows if row["reason"] is not None)
        kept = len(rows) - reasons.total()
        listed = [_reason(sources, stage, rows, *each) for each in sorted(
            reasons.items(), key=lambda item: (-item[1], item[0]))]  # fmt: skip
        refused += listed
        stages.append(
            {"stage": stage, "artifact": sources.manifest(stage).artifact, "rows": len(rows),
             "kept": kept, "refused": reasons.total(), "reasons": listed,
             "ref": sources.refs[stage].short}
        )  # fmt: skip
    content = {"stages": stages, "refused": refused, "most": max(s["rows"] for s in stages) or 1}
    return Section(name, title, sum(stage["rows"] for stage in stages), content=content)


def _judged(sources: Sources, stage: str) -> list[Row]:
    """Return the rows whose reasons count, each with its id, reason, and what says what it is."""
    counted = FAILURES[stage]
    table = counted.table
    if stage == "score" and _is_scored_by_entropy(sources):
        table = "entropies"
    columns = (counted.name, "sample_id", "asked_id", "reason", *SAID)
    return sources.rows(stage, table, columns)


def _is_scored_by_entropy(sources: Sources) -> bool:
    signals = sources.setting("score.signals") or ()
    return "answer_entropy" in signals and "information_gain" not in signals


def _reason(sources: Sources, stage: str, rows: list[Row], reason: str, count: int) -> Row:
    """Return one reason of a stage with the first of its rows."""
    counted = FAILURES[stage]
    row = next(row for row in rows if row["reason"] == reason)
    said = [str(row[name]) for name in SAID if row.get(name)] or _sample(sources, row)
    return {
        "stage": stage,
        "reason": reason,
        "count": count,
        "failure": is_failure(reason, counted),
        "id": str(row[counted.name] or "a record without an id"),
        "said": [text if len(text) <= CUT else text[:CUT] + "…" for text in said],
    }


def _sample(sources: Sources, row: Row) -> list[str]:
    """Return question and response of the sample that a row is about, if there is one."""
    wanted: dict[str, Any] = {"ingest": ("samples", "sample_id", ("question", "response")),
                              "pair": ("groups", "group_id", ("question",)),
                              "ask": ("questions", "asked_id", ("text",))}  # fmt: skip
    for stage, (table, key, columns) in wanted.items():
        if row.get(key) is None or not sources.has(stage, table):
            continue
        for found in sources.rows(stage, table, (key, *columns)):
            if found[key] == row[key]:
                return [str(found[name]) for name in columns if found[name]]
    return []
