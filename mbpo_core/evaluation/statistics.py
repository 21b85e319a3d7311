"""Estimates with their uncertainty: shares by Wilson's interval, everything else by bootstrap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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


def ratio(above: Sequence[float], below: Sequence[float], *, draws: int, seed: int) -> Estimate:
    """Ratio of sums over cases, `sum(above) / sum(below)`, with a percentile bootstrap over cases.

    With `below` all ones it is the mean. Undefined where the denominator is 0; resamples with a
    denominator of 0 are left out of the interval.

    Raises:
        ValueError: sequences of different length.
    """
    if len(above) != len(below):
        raise ValueError(f"expected as many values above as below, got {len(above)}, {len(below)}")
    top, bottom = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    n, total = len(top), float(bottom.sum())
    if n == 0 or total == 0:
        return Estimate(None, n, None, None, "bootstrap")
    rng = np.random.default_rng(seed)
    tops, bottoms = np.empty(draws), np.empty(draws)
    for draw in range(draws):  # one at a time: draws x n indices would not fit for large n
        cases = rng.integers(0, n, n)
        tops[draw], bottoms[draw] = top[cases].sum(), bottom[cases].sum()
    usable = bottoms != 0
    low, high = np.quantile(tops[usable] / bottoms[usable], [0.025, 0.975])
    return Estimate(float(top.sum() / total), n, float(low), float(high), "bootstrap")


def mean(values: Sequence[float], *, draws: int, seed: int) -> Estimate:
    """Mean with a percentile bootstrap."""
    return ratio(values, [1.0] * len(values), draws=draws, seed=seed)
