"""Figures of the page, as Plotly reads them; the page's script gives them the theme's colours.

A trace says in `meta.ink` which of the theme's colours it takes (`--ink-<name>` in page.css).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

Numbers = Sequence[float | int | None]
DIGITS = 6
"""Significant digits of a number in the page: more than any eye or pixel tells apart."""

BINS = 60
"""Of a histogram."""


@dataclass(frozen=True)
class Figure:
    """One figure with the words around it."""

    name: str
    title: str
    caption: str
    """What is drawn, of how many, in which unit; also what a screen reader says."""
    spec: dict[str, Any]
    """`data` and `layout` of Plotly, as JSON values."""


def figure(
    name: str, title: str, caption: str, traces: Sequence[Any], x: str, y: str, **layout: Any
) -> Figure:
    """Return a figure; `x` and `y` are the titles of its axes, `layout` is Plotly's."""
    drawn = go.Figure(list(traces))
    drawn.update_layout(
        xaxis_title_text=x, yaxis_title_text=y, hovermode="x unified", barmode="stack", bargap=0.04,
        showlegend=len(traces) > 1, **layout,
    )  # fmt: skip
    spec = drawn.to_plotly_json()
    spec["layout"].pop("template", None)  # colours are the page's
    return Figure(name, title, caption, spec)


def line(
    x: Numbers, y: Numbers, name: str, ink: str, *, marks: bool = False, dash: str = "solid"
) -> go.Scatter:
    """Return a curve; `marks` puts a point on each value."""
    mode = "lines+markers" if marks else "lines"
    shown = {"mode": mode, "name": name, "meta": {"ink": ink}, "line_dash": dash}
    return go.Scatter(x=list(x), y=rounded(y), **shown, hovertemplate="%{y:.4g}")


def points(x: Numbers, y: Numbers, name: str, ink: str) -> go.Scatter:
    """Return points without a line, faint: single values behind a mean."""
    return go.Scatter(
        x=list(x), y=rounded(y), name=name, mode="markers", opacity=0.35, meta={"ink": ink},
        marker_size=5, hovertemplate="%{y:.4g}",
    )  # fmt: skip


def band(x: Numbers, low: Numbers, high: Numbers, name: str, ink: str) -> list[go.Scatter]:
    """Return the area between two curves."""
    shared = {"x": list(x), "mode": "lines", "line_width": 0, "showlegend": False,
              "hoverinfo": "skip"}  # fmt: skip
    return [
        go.Scatter(y=rounded(low), meta={"ink": ink}, **shared),
        go.Scatter(y=rounded(high), meta={"ink": ink}, name=name, fill="tonexty", **shared),
    ]


def bars(x: Numbers, y: Numbers, name: str, ink: str, width: float | None = None) -> go.Bar:
    """Return bars, stacked on those before them."""
    return go.Bar(x=rounded(x), y=rounded(y), name=name, meta={"ink": ink}, width=width,
                  hovertemplate="%{y}")  # fmt: skip


def edges_of(values: Sequence[float]) -> np.ndarray:
    """Return the edges of `BINS` equal bins from the least to the largest value."""
    low, high = min(values), max(values)
    return np.linspace(low, high if high > low else low + 1.0, BINS + 1)


def histogram(values: Sequence[float], edges: np.ndarray, name: str, ink: str) -> go.Bar:
    """Return how many values are in each bin, counted here: the page needs no single one."""
    found, _ = np.histogram(values, edges)
    middles = [float(middle) for middle in (edges[:-1] + edges[1:]) / 2]
    return bars(middles, [int(n) for n in found], name, ink, float(edges[1] - edges[0]))


def mark(at: float, text: str, ink: str) -> dict[str, Any]:
    """Return the shape and the words of an upright line, as `layout` takes them."""
    shape = {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "name": ink,
             "line": {"width": 2, "dash": "dash"}}  # fmt: skip
    words = {"x": at, "y": 1, "yref": "paper", "text": text, "showarrow": False, "xanchor": "left",
             "yanchor": "top", "xshift": 4}  # fmt: skip
    return {"shapes": [shape], "annotations": [words]}


def rounded(values: Numbers) -> list[float | int | None]:
    """Return values with `DIGITS` significant digits; what is no finite number becomes None."""
    return [short(value) for value in values]


def short(value: float | int | None, digits: int = DIGITS) -> float | int | None:
    """Return a value with so many significant digits; None for what is no finite number."""
    if value is None or isinstance(value, int):
        return value
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def running_mean(values: Numbers, width: int) -> list[float | None]:
    """Return the mean of the last `width` values at each place; None where there is none."""
    found: list[float | None] = []
    for end in range(1, len(values) + 1):
        window = [v for v in values[max(0, end - width) : end] if v is not None]
        found.append(sum(window) / len(window) if window else None)
    return found
