"""The gallery: a row for each sample and response, with what one sorts and filters by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from tasks.report.figures import short
from tasks.report.pictures import Pictures
from tasks.report.sources import Row, Section, Sources, not_there

TEXT = 2000
"""Characters of a text; the rest is cut off, which three dots say."""
_LOGPS = ("clean", "negative", "blank")
COLUMNS = (
    "id", "source_id", "kind", "selected", "rank", "source", "reason",
    "question", "chosen", "rejected", "attempt", "iig", "iig_chosen", "iig_rejected",
    *(f"chosen_{name}" for name in _LOGPS), *(f"rejected_{name}" for name in _LOGPS),
    "recovered", "linf", "tokens", "picture",
)  # fmt: skip
"""Of a row of the page's data, in order. Log-probabilities are sums over the response, in nats."""
_RESPONSE = ("sample_id", "source", "text", "attempt", "iig_mean", "reason",
             *(f"{name}_token_logps" for name in _LOGPS))  # fmt: skip
_NEGATIVE = ("sample_id", "logp_clean", "logp_reread", "logp_blank", "recovered", "linf", "reason")


def gallery(sources: Sources, pictures: Pictures, most: int) -> Section:
    """Return at most `most` rows: selected samples by rank, then all others as they stand."""
    name, title = "gallery", "Gallery"
    if not sources.has("ingest", "samples"):
        return not_there(name, title, "ingest")
    samples = sources.rows("ingest", "samples", ("sample_id", "source_id", "question", "response",
                           "rejected", "closed_kind", "reason"))  # fmt: skip
    tables = _Tables(sources)
    places = {sample: place for place, sample in enumerate(pictures.data)}
    rows = []
    for sample in sorted(samples, key=tables.order):  # stable
        for row in _rows(sample, tables):
            row["picture"] = places.get(sample["sample_id"])
            rows.append([row[column] for column in COLUMNS])
        if len(rows) >= most:
            break
    content = {
        "rows": min(len(rows), most), "samples": len(samples), "pictures": len(pictures.data),
        "mined": len(tables.negatives),
        "miner": sources.setting("mine.kind"),
    }  # fmt: skip
    data = {"columns": COLUMNS, "rows": rows[:most], "pictures": list(pictures.data.values())}
    return Section(name, title, len(samples), content=content, data=data)


class _Tables:
    """Rows of the later stages by sample."""

    def __init__(self, sources: Sources) -> None:
        self.selection = _by_sample(sources.rows(
            "select", "selection", ("sample_id", "chosen", "rank", "reason")))  # fmt: skip
        self.scores = _by_sample(sources.rows(
            "score", "scores", ("sample_id", "iig_mean", "n_tokens", "reason")))  # fmt: skip
        self.negatives = _by_sample(sources.rows("mine", "negatives", _NEGATIVE))
        self.responses: dict[str, list[Row]] = defaultdict(list)
        for row in sources.rows("respond", "responses", _RESPONSE):
            self.responses[row["sample_id"]].append(row)

    def order(self, sample: Row) -> tuple[bool, float]:
        """Return what samples are sorted by."""
        found = self.selection.get(sample["sample_id"])
        if found is None or not found["chosen"]:
            return True, 0.0
        return False, float(found["rank"] if found["rank"] is not None else 0)


def _by_sample(rows: Sequence[Row]) -> dict[str, Row]:
    return {row["sample_id"]: row for row in rows}


def _rows(sample: Row, tables: _Tables) -> Iterator[Row]:
    """Yield one row for every response to a sample, or one without."""
    name = sample["sample_id"]
    selection = tables.selection.get(name, {})
    score, negative = tables.scores.get(name, {}), tables.negatives.get(name, {})
    tokens = score.get("n_tokens")
    clean, blank = negative.get("logp_clean"), negative.get("logp_blank")
    known = tokens and clean is not None and blank is not None
    shared: dict[str, Any] = dict.fromkeys(COLUMNS) | {
        "id": name[:12],
        "source_id": _text(sample["source_id"]),
        "kind": sample["closed_kind"] or "open",
        "selected": bool(selection.get("chosen")),
        "rank": selection.get("rank"),
        "question": _text(sample["question"]),
        "chosen": _text(sample["response"]),
        "iig": _short(score.get("iig_mean")),
        "iig_chosen": _short((clean - blank) / tokens if known else None),
        "chosen_clean": _short(clean),
        "chosen_negative": _short(negative.get("logp_reread")),
        "chosen_blank": _short(blank),
        "recovered": _short(negative.get("recovered")),
        "linf": None if negative.get("linf") is None else round(255 * negative["linf"]),
        "tokens": tokens,
        "reason": sample["reason"] or selection.get("reason") or negative.get("reason"),
    }
    for response in tables.responses.get(name, [{}]):
        yield shared | _rejected(response, shared["reason"])


def _rejected(response: Row, reason: str | None) -> Row:
    if not response:
        return {}
    sums = {name: response[f"{name}_token_logps"] for name in _LOGPS}
    return {
        "source": response["source"],
        "rejected": _text(response["text"]),
        "attempt": response["attempt"],
        "iig_rejected": _short(response["iig_mean"]),
        "reason": reason or response["reason"],
        **{f"rejected_{name}": _short(sum(logps) if logps else None)
           for name, logps in sums.items()},
    }  # fmt: skip


def _short(value: float | None) -> float | int | None:
    return short(value, 4)


def _text(value: Any) -> str | None:
    text = None if value is None else str(value)
    return text if text is None or len(text) <= TEXT else text[:TEXT] + "…"
