"""Somebody else's preference set as an input: what its records are, and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mbpo_core.data.layouts import LAYOUTS, layout_of
from mbpo_core.records import EXPLANATIONS, Reason, Refusal
from storage.refs import ArtifactRef
from storage.store import ArtifactStore
from tasks.rows import read
from tasks.sources import load_records

_SHOWN_KEYS = 12
_SHOWN_TEXT = 120
_COLUMNS = ("source_id", "source_index", "turn", "question", "rejected", "reason", "detail")


@dataclass(frozen=True)
class Refused:
    """Rows that cannot be used for one reason."""

    reason: str
    count: int
    meaning: str
    example: dict[str, Any]
    """The first of them: `record` (its position from 0), `id`, `turn`, `question`, `detail`."""


@dataclass(frozen=True)
class Imported:
    """What a source turned out to hold, once it was read."""

    records: int
    """Records of the source that were read."""
    rows: int
    """Questions with a response, pairs and refused rows together: what the store holds."""
    pairs: int
    """Questions with a better and a worse response that can be used."""
    without_pair: int
    """Questions with a response but no worse one: they make no pair."""
    refused: list[Refused] = field(default_factory=list)


def find_layouts(
    path: Path, limit: int | None, wanted: str, tell: Callable[..., None]
) -> dict[str, int]:
    """Return how many records of a source have which layout.

    Args:
        path: the source.
        limit: read only so many records.
        wanted: a name of `LAYOUTS` that all records must have; `auto` = any of them.
        tell: called as (amount, total) with the records done.

    Raises:
        SourceError: the source cannot be read.
        ValueError: no record is a preference pair, or a record has another layout than `wanted`;
            names the layouts and the keys that were seen.
    """
    if wanted != "auto" and wanted not in LAYOUTS:
        raise ValueError(f"unknown format {wanted!r}; there are auto, {', '.join(LAYOUTS)}")
    records = load_records(path)[:limit]
    found, other = Counter[str](), None
    tell(0, len(records))
    for index in range(len(records)):
        layout = layout_of(records[index])
        if layout is not None:
            found[layout] += 1
        if layout != wanted and other is None:
            other = (index, records[index])
        tell(1)
    if wanted != "auto" and other is not None:
        raise ValueError(f"record {other[0]} is not {wanted}: {_seen(other[1])}. {_known()}")
    if not found:
        seen = _seen(records[0]) if len(records) else "it has no records"
        raise ValueError(f"{path} holds no preference pairs: {seen}. {_known()}")
    return dict(sorted(found.items()))


def imported(store: ArtifactStore, samples: ArtifactRef) -> Imported:
    """Return what the samples made from a source are."""
    rows = read(store, samples, "samples", _COLUMNS)
    refused: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["reason"] is not None:
            refused.setdefault(row["reason"], []).append(row)
    usable = [row for row in rows if row["reason"] is None]
    pairs = sum(row["rejected"] is not None for row in usable)
    return Imported(
        records=len({row["source_index"] for row in rows}),
        rows=len(rows),
        pairs=pairs,
        without_pair=len(usable) - pairs,
        refused=[_refused(reason, refused[reason]) for reason in sorted(refused)],
    )


def _refused(reason: str, rows: list[dict[str, Any]]) -> Refused:
    first = min(rows, key=lambda row: (row["source_index"], row["turn"]))
    example = {
        "record": first["source_index"],
        "id": first["source_id"],
        "turn": first["turn"],
        "question": _cut(first["question"]),
        "detail": first["detail"],
    }
    return Refused(reason, len(rows), EXPLANATIONS[Reason(reason)], example)


def _seen(record: Any) -> str:
    if isinstance(record, Refusal):
        return f"it cannot be read ({record.detail})"
    if not isinstance(record, dict):
        return f"it is no object but {type(record).__name__}"
    keys = [key for key, value in record.items() if value is not None]
    more = ", ..." if len(keys) > _SHOWN_KEYS else ""
    return f"its keys are {', '.join(map(str, keys[:_SHOWN_KEYS]))}{more}"


def _known() -> str:
    each = "; ".join(f"{name}: {keys}" for name, keys in LAYOUTS.items())
    return f"Formats that are read, and their keys beside the image: {each}"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_TEXT else text[: _SHOWN_TEXT - 3] + "..."
