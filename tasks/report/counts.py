"""What each stage took in, gave on and refused, with an example of every reason."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from tasks.failures import FAILURES, is_failure
from tasks.report.sources import Row, Section, Sources, not_there

SAID = ("question", "response", "text", "detail")
"""Columns that tell a person what a row is, where a table has them."""
_ABOUT = (("ingest", "samples", "sample_id", ("question", "response")),
          ("pair", "groups", "group_id", ("question",)),
          ("ask", "questions", "asked_id", ("text",)))  # fmt: skip
"""Where the words of a row stand that has none of its own: stage, table, id, columns."""
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
        found = rows["reason"].drop_null().value_counts().to_pylist()
        reasons = sorted(((each["values"], each["counts"]) for each in found),
                         key=lambda item: (-item[1], item[0]))  # fmt: skip
        listed = [_reason(sources, stage, rows, *each) for each in reasons]
        refused += listed
        lost = sum(count for _, count in reasons)
        stages.append(
            {"stage": stage, "artifact": sources.manifest(stage).artifact, "rows": len(rows),
             "kept": len(rows) - lost, "refused": lost, "reasons": listed}
        )  # fmt: skip
    content = {"stages": stages, "refused": refused, "most": max(s["rows"] for s in stages) or 1}
    return Section(name, title, sum(stage["rows"] for stage in stages), content=content)


def _judged(sources: Sources, stage: str) -> pa.Table:
    """Return the rows whose reasons count, each with its id, reason, and what says what it is."""
    counted = FAILURES[stage]
    entropies = stage == "score" and _is_scored_by_entropy(sources)
    columns = (counted.name, "sample_id", "asked_id", "reason", *SAID)
    found = sources.table(stage, "entropies" if entropies else counted.table, columns)
    return found if found is not None else pa.table({"reason": pa.array([], pa.string())})


def _is_scored_by_entropy(sources: Sources) -> bool:
    signals = sources.setting("score.signals") or ()
    return "answer_entropy" in signals and "information_gain" not in signals


def _reason(sources: Sources, stage: str, rows: pa.Table, reason: str, count: int) -> Row:
    """Return one reason of a stage with the first of its rows."""
    counted = FAILURES[stage]
    row = _first(rows, "reason", reason)
    said = [str(row[name]) for name in SAID if row.get(name)] or _sample(sources, row)
    return {
        "stage": stage,
        "reason": reason,
        "count": count,
        "failure": is_failure(reason, counted),
        "id": str(row.get(counted.name) or "a record without an id"),
        "said": [text if len(text) <= CUT else text[:CUT] + "…" for text in said],
    }


def _first(rows: pa.Table, column: str, value: str) -> Row:
    """Return the first row with a value, {} where there is none."""
    found = rows.filter(pc.equal(rows[column], value)).slice(0, 1).to_pylist()
    return found[0] if found else {}


def _sample(sources: Sources, row: Row) -> list[str]:
    """Return what is asked and answered in the sample, group or question that a row is about."""
    for stage, table, key, columns in _ABOUT:
        if row.get(key) is None or not sources.has(stage, table):
            continue
        rows = sources.table(stage, table, (key, *columns))
        found = _first(rows, key, row[key]) if rows is not None else {}
        if found:
            return [str(found[name]) for name in columns if found[name]]
    return []
