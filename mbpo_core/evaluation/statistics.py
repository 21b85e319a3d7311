"""Figures as functions of sums over answers, with 95 % intervals, alone or as paired differences.

Every figure here (a share, F1, CHAIR, a score over categories) is a function of sums of what each
answer adds. So one bootstrap serves all of them: draw units with replacement, sum, take the
function. Units are what is independent: images rather than the questions about them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Sums = NDArray[np.float64]
Z_95 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""


@dataclass(frozen=True)
class Estimate:
    """A figure, the number of cases behind it, and a 95 % confidence interval."""

    value: float | None
    """None where it is undefined (no case, or nothing in the denominator)."""
    n: int
    low: float | None
    high: float | None
    method: str


@dataclass(frozen=True)
class Figure:
    """One figure of a block: a function of its sums."""

    metric: str
    value: Callable[[Sums], Sums]
    """Sums `[..., k]` to values `[...]`; not a number where undefined."""
    better: int = 1
    """1: more is better; -1: less is better; 0: neither."""
    wilson: bool = False
    """The figure is a share of independent answers: it has Wilson's interval."""


@dataclass(frozen=True)
class Block:
    """Answers of one kind and the figures that are computed from them."""

    kind: str
    """Question kind, category or split; `all`."""
    units: Sequence[str]
    """Unit of each of the N rows."""
    terms: Sums
    """What each row adds to the sums, `[N, k]`."""
    figures: Sequence[Figure]

    def __post_init__(self) -> None:
        if self.terms.ndim != 2 or len(self.units) != len(self.terms):
            raise ValueError(
                f"expected terms [{len(self.units)}, k], one row a unit, got {self.terms.shape}"
            )


@dataclass(frozen=True)
class Difference:
    """A figure of two models on the same questions: b - a, with a paired 95 % interval."""

    a: float | None
    b: float | None
    difference: float | None
    low: float | None
    high: float | None
    n: int


def block(kind: str, units: Sequence[str], rows: Sequence[Sequence[float]],
          figures: Sequence[Figure]) -> Block:  # fmt: skip
    """Return a block of rows; none make an empty one, whose figures are undefined."""
    width = len(rows[0]) if rows else 1
    return Block(kind, tuple(units), np.array(rows, float).reshape(len(rows), width), figures)


def divide(above: Sums, below: Sums) -> Sums:
    """Return above / below, not a number where below is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below == 0, np.nan, above / below)


def rounded(values: Sums, decimals: int) -> Sums:
    """Return values rounded as Python does, which official scripts use; NumPy's differs.

    NumPy scales first, which takes 44.45 to 44.4 where Python gives 44.5.
    """
    flat = [round(float(value), decimals) for value in np.asarray(values).ravel()]
    return np.array(flat, dtype=np.float64).reshape(np.shape(values))


def quotient(above: int, below: int) -> Callable[[Sums], Sums]:
    """Return the figure `sums[above] / sums[below]`."""
    return lambda sums: divide(sums[..., above], sums[..., below])


def estimates(of: Block, *, draws: int, seed: int) -> list[tuple[Figure, Estimate]]:
    """Every figure of a block with its interval: percentile bootstrap over units, or Wilson's.

    Args:
        of: the block.
        draws: resamples; those where a figure is undefined are left out of its interval.
        seed: of the resampling.
    """
    n = len(of.terms)
    if n == 0:
        return [(figure, Estimate(None, 0, None, None, _method(figure))) for figure in of.figures]
    values = _values(of.figures, of.terms.sum(0))
    resampled: list[Sums] = []
    if not all(figure.wilson for figure in of.figures):
        (sums,) = _resampled([_by_unit(of, _order(of.units))], draws, seed)
        resampled = [_values([figure], sums)[0] for figure in of.figures]
    found = []
    for index, figure in enumerate(of.figures):
        value = float(values[index])
        if math.isnan(value):
            found.append((figure, Estimate(None, n, None, None, _method(figure))))
        elif figure.wilson:
            found.append((figure, share(round(value * n), n)))
        else:
            low, high = _interval(resampled[index])
            found.append((figure, Estimate(value, n, low, high, "bootstrap")))
    return found


def differences(a: Block, b: Block, *, draws: int, seed: int) -> list[tuple[Figure, Difference]]:
    """Figures of b minus those of a, both drawn with the same units each time.

    Raises:
        ValueError: the blocks are not about the same units.
    """
    if sorted(a.units) != sorted(b.units):
        raise ValueError(f"block {a.kind!r}: a paired difference needs the same questions")
    n = len(a.terms)
    if n == 0:
        return [(figure, Difference(None, None, None, None, None, 0)) for figure in a.figures]
    order = _order(a.units)
    drawn_a, drawn_b = _resampled([_by_unit(a, order), _by_unit(b, order)], draws, seed)
    found = []
    for figure in a.figures:
        before, after = (float(_values([figure], x.terms.sum(0))[0]) for x in (a, b))
        spread = _values([figure], drawn_b)[0] - _values([figure], drawn_a)[0]
        low, high = _interval(spread)
        values = [None if math.isnan(v) else v for v in (before, after, after - before)]
        found.append((figure, Difference(*values, low, high, n)))
    return found


def share(successes: int, n: int) -> Estimate:
    """Share of successes with Wilson's score interval (Wilson 1927); undefined for n = 0.

    Raises:
        ValueError: successes outside of 0..n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be in 0..{n}, got {successes}")
    if n == 0:
        return Estimate(None, 0, None, None, "wilson")
    p, z2 = successes / n, Z_95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At 0 and at n the bounds are exactly 0 and 1; rounding must not push them past the value.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Estimate(p, n, low, high, "wilson")


def _method(figure: Figure) -> str:
    return "wilson" if figure.wilson else "bootstrap"


def _values(figures: Sequence[Figure], sums: Sums) -> list[Sums]:
    return [np.asarray(figure.value(sums), dtype=np.float64) for figure in figures]


def _order(units: Sequence[str]) -> dict[str, int]:
    """Return the place of each unit, by first appearance."""
    return {unit: place for place, unit in enumerate(dict.fromkeys(units))}


def _by_unit(of: Block, order: dict[str, int]) -> Sums:
    sums = np.zeros((len(order), of.terms.shape[1]))
    np.add.at(sums, [order[unit] for unit in of.units], of.terms)
    return sums


def _resampled(terms: Sequence[Sums], draws: int, seed: int) -> list[Sums]:
    """Return sums `[draws, k]` of each of several terms `[U, k]`, all under the same draws."""
    n = len(terms[0])
    rng = np.random.default_rng(seed)
    found = [np.empty((draws, each.shape[1])) for each in terms]
    for draw in range(draws):  # one at a time: draws x n indices would not fit for large n
        counts = np.bincount(rng.integers(0, n, n), minlength=n)
        for sums, each in zip(found, terms, strict=True):
            sums[draw] = counts @ each
    return found


def _interval(values: Sums) -> tuple[float | None, float | None]:
    usable = values[~np.isnan(values)]
    if not len(usable):
        return None, None
    low, high = np.quantile(usable, [0.025, 0.975])
    return float(low), float(high)
