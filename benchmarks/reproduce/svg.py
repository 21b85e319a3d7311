"""Lines, points and panels with axes as SVG, in colours for light and for dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 760
_STYLE = """<style>
svg { --ink: #1f2328; --faint: #59636e; --grid: #d1d9e0 }
.blue { --c: #0969da } .orange { --c: #bc4c00 } .plain { --c: #1f2328 }
@media (prefers-color-scheme: dark) {
svg { --ink: #f0f6fc; --faint: #9198a1; --grid: #3d444d }
.blue { --c: #4493f8 } .orange { --c: #f0883e } .plain { --c: #f0f6fc }
}
text { font: 13px sans-serif; fill: var(--ink) }
text.small { font-size: 11px; fill: var(--faint) }
.grid { stroke: var(--grid); fill: none }
.line { stroke: var(--c); stroke-width: 2; fill: none }
.band { fill: var(--c); fill-opacity: 0.2 }
.dot { fill: var(--c); fill-opacity: 0.6 } .mark { fill: var(--c) }
</style>"""
Point = tuple[float, float]


@dataclass(frozen=True)
class Panel:
    """A rectangle with axes."""

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    """Range of the values from left to right."""
    y: tuple[float, float] = (0, 1)
    """From bottom to top."""

    def at(self, x: float, y: float) -> Point:
        """Return where values lie on the page."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return (
            round(self.left + across * self.width, 1),
            round(self.top + (1 - up) * self.height, 1),
        )

    def frame(self, title: str, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> list[str]:
        """Return title, grid and the numbers at it."""
        found = [text(self.left, self.top - 12, title)]
        for tick in x_ticks:
            x, bottom = self.at(tick, self.y[0])
            found.append(line("grid", [(x, self.top), (x, bottom)]))
            found.append(text(x, bottom + 16, f"{tick:g}", "small", "middle"))
        for tick in y_ticks:
            left, y = self.at(self.x[0], tick)
            found.append(line("grid", [(left, y), (left + self.width, y)]))
            found.append(text(left - 6, y + 4, f"{tick:g}", "small", "end"))
        return found


def ticks(values: Sequence[float]) -> list[float]:
    """Return round numbers from below the least to above the largest value, seven at most."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    step = 0.01
    factors = iter((2, 2.5, 2) * 9)
    while high // step - low // step > 5:
        step *= next(factors)
    first, last = int(low // step), int(-(-high // step))
    return [round(n * step, 4) for n in range(first, max(last, first + 1) + 1)]


def page(height: float, parts: Sequence[str]) -> str:
    """Return a whole file."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" '
    size = f'width="{WIDTH}" height="{height:g}" role="img">'
    return "\n".join([head + size, _STYLE, *parts, "</svg>"]) + "\n"


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    """Return words at a place; `anchor` says whether they begin, end or have their middle there."""
    kind = f' class="{style}"' if style else ""
    safe = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:g}" y="{y:g}"{kind} text-anchor="{anchor}">{safe}</text>'


def line(style: str, points: Sequence[Point]) -> str:
    """Return a line through points."""
    return f'<polyline class="{style}" points="{_joined(points)}"/>'


def shape(style: str, points: Sequence[Point]) -> str:
    """Return a filled shape."""
    return f'<polygon class="{style}" points="{_joined(points)}"/>'


def dot(x: float, y: float, radius: float, style: str) -> str:
    """Return a filled circle."""
    return f'<circle class="{style}" cx="{x:g}" cy="{y:g}" r="{radius:g}"/>'


def _joined(points: Sequence[Point]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
