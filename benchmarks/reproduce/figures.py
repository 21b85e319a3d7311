"""The figures as SVG, drawn from the committed runs; readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from benchmarks.compare.table import cell
from benchmarks.reproduce import svg
from benchmarks.reproduce.paired import Runs, has_seeds, value
from benchmarks.reproduce.rows import GROUPS
from benchmarks.reproduce.svg import Panel

_COLOURS = ("blue", "orange")
_ROW = 30
_TOP = 45
Curve = Sequence[Sequence[float]]
"""Points (step, value)."""


def table2(runs: Mapping[str, Runs]) -> str:
    """Return Table 2 and the controls as points: each run, the mean and Student's interval."""
    names = [*GROUPS["table2"].rows, *(n for n in GROUPS["controls"].rows if n != "full")]
    parts = [svg.text(8, _level(n) + 4, name) for n, name in enumerate(names)]
    for column, title, left in (
        ("CHAIR_i", "CHAIR_i, no colour typical (less is better)", 160),
        ("accuracy, typical", "accuracy, all colours typical", 480),
    ):
        found = [value(run, column) for name in names for run in runs.get(name, {}).values()]
        ticks = svg.ticks([each for each in found if each is not None])
        panel = Panel(left, _TOP, 250, _ROW * len(names), (ticks[0], ticks[-1]))
        parts += panel.frame(title, ticks, ())
        for n, name in enumerate(names):
            parts += _points(panel, _level(n), runs.get(name, {}), column)
    bottom = _level(len(names)) + 30
    for n, (name, colour) in enumerate(zip(_bases(runs), _COLOURS, strict=False)):
        parts.append(svg.dot(168 + 110 * n, bottom - 4, 3, f"{colour} dot"))
        parts.append(svg.text(176 + 110 * n, bottom, name, "small"))
    return svg.page(bottom + 15, parts)


def figure4(runs: Mapping[str, Runs]) -> str:
    """Return both curves of Fig. 4: gain of chosen and rejected responses, online reward."""
    pairs, online = runs.get("offline-adversarial", {}), runs.get("online", {})
    rewards = [_smooth(curve) for curve in _curves(online, "reward")]
    foot = "optimiser step; bands: 95 % over runs (Student)"
    return svg.page(315, [
        *_drawn(60, "gain (nats a token), offline adversarial",
                {name: _curves(pairs, name) for name in ("chosen", "rejected")}),
        *_drawn(440, "reward (mean of 10 steps), online", {"reward": rewards}),
        svg.text(380, 300, foot, "small", "middle"),
    ])  # fmt: skip


def _points(panel: Panel, level: float, runs: Runs, column: str) -> list[str]:
    values = {
        unit: found for unit, run in runs.items() if (found := value(run, column)) is not None
    }
    summary = cell(list(values.values()))
    if summary is None:
        return [svg.text(panel.left + 4, level + 4, "not run", "small")]
    colours = dict(zip(sorted({base for base, _ in runs}), _COLOURS, strict=False))
    dots = [svg.dot(panel.at(v, 0)[0], level + 5, 3, f"{colours.get(unit[0], 'plain')} dot")
            for unit, v in values.items()]  # fmt: skip
    mean = svg.dot(panel.at(summary.mean, 0)[0], level - 3, 4, "plain mark")
    if not has_seeds(runs):
        return [*dots, mean]
    bounds = (max(panel.x[0], summary.low), min(panel.x[1], summary.high))
    ends = [(panel.at(bound, 0)[0], level - 3) for bound in bounds]
    return [*dots, svg.line("plain line", ends), mean]


def _drawn(left: float, title: str, bundles: Mapping[str, Sequence[Curve]]) -> list[str]:
    """Return the mean of each bundle of curves with its band."""
    bands = {name: _band(bundle) for name, bundle in bundles.items() if bundle}
    ticks = svg.ticks([bound for band in bands.values() for point in band for bound in point[1:]])
    panel = Panel(left, _TOP, 290, 220, (0, 100), (ticks[0], ticks[-1]))
    parts = panel.frame(title, (0, 25, 50, 75, 100), ticks)
    if not bands:
        parts.append(svg.text(left + 4, _TOP + 20, "not run", "small"))
    for (name, band), colour in zip(bands.items(), _COLOURS, strict=False):
        low = [panel.at(step, bound) for step, _, bound, _ in band]
        high = [panel.at(step, bound) for step, _, _, bound in band]
        middle = [panel.at(step, mean) for step, mean, _, _ in band]
        parts.append(svg.shape(f"{colour} band", [*low, *reversed(high)]))
        parts.append(svg.line(f"{colour} line", middle))
        parts.append(svg.text(middle[-1][0] - 4, middle[-1][1] - 8, name, "small", "end"))
    return parts


def _curves(runs: Runs, name: str) -> list[Curve]:
    return [run.curves[name] for _, run in sorted(runs.items()) if name in run.curves]


def _smooth(curve: Curve, window: int = 10) -> list[list[float]]:
    """Return means of `window` steps, at the last of them."""
    return [
        [curve[end - 1][0], fmean(point[1] for point in curve[end - window : end])]
        for end in range(window, len(curve) + 1, window)
    ]


def _band(bundle: Sequence[Curve]) -> list[tuple[float, float, float, float]]:
    """Return step, mean, low and high at each step that all curves have."""
    shared = sorted(set.intersection(*({point[0] for point in curve} for curve in bundle)))
    by_step = [{point[0]: point[1] for point in curve} for curve in bundle]
    found = []
    for step in shared:
        summary = cell([curve[step] for curve in by_step])
        assert summary is not None
        found.append((step, summary.mean, summary.low, summary.high))
    return found


def _bases(runs: Mapping[str, Runs]) -> list[str]:
    return sorted({base for row in runs.values() for base, _ in row})


def _level(n: int) -> float:
    return _TOP + _ROW * n + _ROW / 2
