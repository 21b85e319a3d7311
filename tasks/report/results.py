"""Base against trained: every figure with its interval, and paired differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any

import plotly.graph_objects as go

from mbpo_core.evaluation.metrics import FAILURES, compare
from tasks.benchmarks import blocks_of
from tasks.comparison import answers_of, verdict
from tasks.report.figures import Figure, figure, short
from tasks.report.sources import Row, Section, Sources, not_there
from tasks.shown import is_shown

MODEL_INKS = ("base", "trained", "offline", "online", "neutral")
APART = 0.28
"""Distance of two models' points, of that of two rows."""
HEADLINES = 2
"""Figures of each benchmark at the top of the page."""
Place = tuple[str, str, str]
"""Benchmark, metric and kind of question."""


def results(sources: Sources) -> Section:
    """Return the tables of the evaluation."""
    name, title = "evaluation", "Evaluation"
    if "evaluate" not in sources.refs:
        return not_there(name, title, "evaluate")
    names = ("model", "benchmark", "kind", "metric", "value", "n", "low", "high", "better", "judge")
    rows = [row for row in sources.rows("evaluate", "metrics", names)]
    if not rows:
        return Section(name, title, missing="no benchmark was asked")
    models = list(dict.fromkeys(row["model"] for row in rows))
    paired = differences(sources, models)
    benchmarks = _tables(rows, models, paired)
    content = {"models": models, "benchmarks": benchmarks, "paired": len(models) == 2,
               "headlines": _headlines(benchmarks), "tally": _tally(benchmarks)}  # fmt: skip
    figures = tuple(made for place, each in enumerate(benchmarks)
                    if (made := _figure(place, each, models)))  # fmt: skip
    return Section(name, title, len(rows), content=content, figures=figures)


def differences(sources: Sources, models: Sequence[str]) -> dict[Place, Row]:
    """Return trained minus base on the same questions, of two models; bootstrap of the recipe."""
    if len(models) != 2:
        return {}
    ref = sources.refs["evaluate"]
    a, b = (answers_of(sources.store, ref, model) for model in models)
    draws, seed = sources.setting("evaluate.bootstrap"), sources.setting("evaluate.seed")
    found: dict[Place, Row] = {}
    for benchmark in sorted(a.keys() & b.keys()):
        for each in compare(
            list(a[benchmark].values()), list(b[benchmark].values()), blocks_of(benchmark),
            draws=draws or 2000, seed=seed or 0,
        ):  # fmt: skip
            told = {name: short(value) for name, value in vars(each.difference).items()}
            found[benchmark, each.metric, each.kind] = told | {"verdict": verdict(each)}
    return found


def _tables(
    rows: Sequence[Row], models: Sequence[str], paired: Mapping[Place, Row]
) -> list[dict[str, Any]]:
    """Return the rows of each benchmark, one for each figure, with what all models have."""
    pooled = {(row["benchmark"], row["metric"]) for row in rows if row["kind"] == "all"}
    cells: dict[Place, dict[str, Row]] = {}
    for row in rows:
        place = (row["benchmark"], row["metric"], row["kind"])
        cells.setdefault(place, {})[row["model"]] = row
    tables: dict[str, list[Row]] = {}
    for place, by_model in sorted(cells.items()):
        any_row = next(iter(by_model.values()))
        if place[1] in FAILURES and not any(row["value"] for row in by_model.values()):
            continue
        tables.setdefault(place[0], []).append(
            {
                "metric": place[1], "kind": place[2], "n": any_row["n"],
                "better": any_row["better"], "main": _is_main(any_row, rows, pooled),
                "failure": place[1] in FAILURES,
                "by_model": [by_model.get(model) for model in models],
                "difference": paired.get(place),
            }
        )  # fmt: skip
    judges = {row["benchmark"]: row["judge"] for row in rows if row["judge"]}
    return [{"name": name, "rows": found, "judge": judges.get(name)}
            for name, found in tables.items()]  # fmt: skip


def _is_main(row: Row, rows: Sequence[Row], pooled: Set[tuple[str, str]]) -> bool:
    """Say whether a figure is in the first table: those of all questions are, unless one kind has
    as many, and is there under its own name."""
    same = [each for each in rows if each["kind"] != "all" and all(
        each[name] == row[name] for name in ("benchmark", "metric", "model", "n"))]  # fmt: skip
    if row["kind"] == "all":
        return row["metric"] in FAILURES or not same
    return is_shown(row, pooled)


def _headlines(benchmarks: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return the first figures over all questions of every benchmark: chosen before any is known.

    Where a benchmark has none over all questions, its first ones.
    """
    found = []
    for each in benchmarks:
        told = [
            row
            for row in each["rows"]
            if row["better"] and not row["failure"] and row["metric"] != "iig_mean"
        ]
        over_all = [row for row in told if row["kind"] == "all"] or told
        found += [row | {"benchmark": each["name"]} for row in over_all[:HEADLINES]]
    return found


def _tally(benchmarks: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many of the compared figures are better, worse or not told apart."""
    verdicts = [
        row["difference"]["verdict"]
        for each in benchmarks
        for row in each["rows"]
        if row["main"] and row["difference"] and row["better"] and not row["failure"]
    ]
    return dict(Counter(verdicts)) | {"all": len(verdicts)}


def _figure(place: int, benchmark: Mapping[str, Any], models: Sequence[str]) -> Figure | None:
    """Return the figures of a benchmark that are shares, as points with intervals."""
    rows = [row for row in benchmark["rows"] if row["main"] and _is_share(row)]
    if not rows:
        return None
    labels = [f"{row['metric']} · {row['kind']}" for row in reversed(rows)]
    traces = []
    for number, (model, ink) in enumerate(zip(models, MODEL_INKS, strict=False)):
        of_model = [row["by_model"][number] for row in reversed(rows)]
        aside = APART * ((len(models) - 1) / 2 - number)
        traces.append(_points(of_model, labels, model, ink, aside))
    name = benchmark["name"]
    caption = (f"{name}: {', '.join(models)} with 95 % intervals; figures that are shares, the "
               "others are in the table.")  # fmt: skip
    drawn = figure(f"benchmark-{place}", name, caption, traces, "value", "")
    drawn.spec["layout"] |= {"hovermode": "closest", "height": 110 + 34 * len(rows)}
    drawn.spec["layout"]["yaxis"] = {"tickvals": list(range(len(rows))), "ticktext": labels}
    return drawn


def _is_share(row: Row) -> bool:
    values = [each["value"] for each in row["by_model"] if each and each["value"] is not None]
    return bool(values) and not row["failure"] and row["metric"] != "iig_mean" and all(
        0 <= value <= 1 for value in values
    )  # fmt: skip


def _points(
    rows: Sequence[Row | None], labels: list[str], model: str, ink: str, aside: float
) -> go.Scatter:
    """Return one model's points, a little `aside` of the middle of their rows."""
    values = [row["value"] if row else None for row in rows]
    above, below = (
        [abs(row[end] - row["value"]) if row and row[end] is not None else 0 for row in rows]
        for end in ("high", "low")
    )
    return go.Scatter(
        x=[short(v) for v in values], y=[place + aside for place in range(len(rows))], name=model,
        mode="markers", meta={"ink": ink}, marker_size=9, text=labels,
        hovertemplate="%{text}: %{x:.3f}",
        error_x={"type": "data", "symmetric": False, "array": [short(v) for v in above],
                 "arrayminus": [short(v) for v in below], "thickness": 1.5, "width": 3},
    )  # fmt: skip
