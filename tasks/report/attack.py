"""What the miner did: how log-probability fell, how far pixels went, what came back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.report.figures import Figure, band, edges_of, figure, histogram, line, mark
from tasks.report.pictures import Pictures
from tasks.report.sources import Row, Section, Sources, not_there

COLUMNS = ("sample_id", "logp_trace", "logp_clean", "logp_reread", "logp_blank", "linf",
           "retried", "recovered", "reason")  # fmt: skip
NAME, TITLE = "attack", "The attack on the picture"


def attack(sources: Sources, pictures: Pictures) -> Section:
    """Return traces and the use of epsilon; `pictures` are those that were decoded for the page."""
    if "mine" not in sources.refs:
        return not_there(NAME, TITLE, "mine")
    rows = sources.rows("mine", "negatives", COLUMNS)
    mined = [row for row in rows if row["reason"] is None]
    if not mined:
        kind = sources.setting("mine.kind")
        why = "this recipe mines no negative images" if kind == "none" else "no image was mined"
        return Section(NAME, TITLE, missing=why)
    figures = [made for made in (_traces(mined), _recovered(mined), _epsilon(sources, mined))
               if made is not None]  # fmt: skip
    content = {"facts": _facts(sources, mined, pictures), "miner": sources.setting("mine.kind")}
    return Section(NAME, TITLE, len(rows), content=content, figures=tuple(figures))


def _numbers(rows: Sequence[Row], name: str) -> list[float]:
    return [row[name] for row in rows if row[name] is not None]


def _traces(mined: Sequence[Row]) -> Figure | None:
    """Return median and quartiles of the log-probability at every step of the attack."""
    traces = [row["logp_trace"] for row in mined if len(row["logp_trace"] or ()) > 1]
    if not traces:
        return None
    longest = max(map(len, traces))
    table = np.full((len(traces), longest), np.nan)
    for row, trace in zip(table, traces, strict=True):
        row[: len(trace)] = trace
    low, median, high = (
        [float(v) for v in each] for each in np.nanquantile(table, [0.25, 0.5, 0.75], axis=0)
    )
    steps = list(range(longest))
    drawn = [*band(steps, low, high, "quartiles", "rejected"),
             line(steps, median, "under the attacked picture", "rejected")]  # fmt: skip
    blank = _numbers(mined, "logp_blank")
    if blank:
        level = float(np.median(blank))
        drawn.append(line([0, longest - 1], [level] * 2, "under a black picture", "neutral",
                          dash="dash"))  # fmt: skip
    caption = (f"Log-probability of the chosen response while its picture is attacked, nats a "
               f"response: median and quartiles of {len(traces)} samples. Dashed: the median under "
               "a black picture, which is where the prior stands.")  # fmt: skip
    return figure("trace", "Log-probability over the steps", caption, drawn, "step",
                  "log-probability, nats")  # fmt: skip


def _recovered(mined: Sequence[Row]) -> Figure | None:
    values = _numbers(mined, "recovered")
    if not values:
        return None
    drawn = [histogram(values, edges_of(values), "samples", "rejected")]
    caption = ("Share of the way from the clean picture to the black one that the mined picture "
               f"goes, in log-probability of the chosen response; {len(values)} samples where the "
               "picture adds enough for the share to mean something.")  # fmt: skip
    return figure("recovered", "Recovered share of the prior", caption, drawn, "recovered share",
                  "samples", **mark(1.0, "black picture", "neutral"))  # fmt: skip


def _epsilon(sources: Sources, mined: Sequence[Row]) -> Figure | None:
    values = [255 * value for value in _numbers(mined, "linf")]
    if not values:
        return None
    epsilon = sources.setting("mine.epsilon")
    levels = [round(value) for value in values]
    top = max([*levels, round(255 * epsilon) if epsilon else 0])
    drawn = [histogram(levels, np.arange(-0.5, top + 1.5), "samples", "offline")]
    bound = mark(255 * epsilon, f"epsilon {255 * epsilon:.0f}/255", "cut") if epsilon else {}
    caption = f"Largest change of any channel of a pixel, in 1/255, of {len(values)} pictures" + (
        ", against the radius epsilon." if epsilon else "; no radius is set."
    )
    return figure("epsilon", "Use of epsilon", caption, drawn, "largest change, 1/255", "pictures",
                  **bound)  # fmt: skip


def _facts(sources: Sources, mined: Sequence[Row], pictures: Pictures) -> list[tuple[str, str]]:
    recovered = _numbers(mined, "recovered")
    drops = [row["logp_clean"] - row["logp_reread"] for row in mined
             if row["logp_clean"] is not None and row["logp_reread"] is not None]  # fmt: skip
    largest = _numbers(mined, "linf")
    facts: list[tuple[str, Any]] = [("pictures", f"{len(mined):,}")]
    if drops:
        facts.append(("median drop", f"{np.median(drops):.2f} nats"))
    if recovered:
        facts.append(("median recovered", f"{np.median(recovered):.2f}"))
        facts.append(("recovered at least half", f"{np.mean(np.array(recovered) >= 0.5):.0%}"))
    epsilon = sources.setting("mine.epsilon")
    if largest:
        of = f" of {255 * epsilon:.0f}" if epsilon else ""
        facts.append(("largest change", f"{255 * max(largest):.0f}{of}/255"))
    if pictures.changes:
        told = f"{255 * np.mean(pictures.changes):.1f}/255"
        facts.append((f"mean change, of {len(pictures.changes)} pictures", told))
    if retried := sum(bool(row["retried"]) for row in mined):
        facts.append(("tried twice", f"{retried}"))
    return facts
