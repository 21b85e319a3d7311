import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation.statistics import Z_95, mean, ratio, share


@given(st.integers(1, 500), st.data())
def test_wilson_bounds_solve_the_score_equation(n, data):
    """Wilson's bounds are the p0 for which |p - p0| = z sqrt(p0 (1 - p0) / n)."""
    k = data.draw(st.integers(0, n))
    found = share(k, n)
    assert found.value == k / n and found.n == n
    assert found.low <= found.value <= found.high
    for bound in (found.low, found.high):
        if 0 < bound < 1:
            z = abs(found.value - bound) / math.sqrt(bound * (1 - bound) / n)
            assert z == pytest.approx(Z_95, rel=1e-6)


def test_share_of_nothing_is_undefined_and_impossible_counts_are_refused():
    assert share(0, 0).value is None and share(0, 0).low is None
    with pytest.raises(ValueError, match=r"in 0\.\.3, got 4"):
        share(4, 3)


def test_ratio_is_of_sums_not_a_mean_of_ratios():
    found = ratio([1, 0], [1, 3], draws=200, seed=0)
    assert found.value == 1 / 4  # a mean of ratios would give 1/2
    assert found.low <= found.value <= found.high


def test_undefined_ratios_have_no_value():
    assert ratio([], [], draws=100, seed=0).value is None
    assert ratio([0, 0], [0, 0], draws=100, seed=0).value is None
    with pytest.raises(ValueError, match="as many values"):
        ratio([1], [], draws=100, seed=0)


def test_bootstrap_interval_of_a_mean_agrees_with_normal_theory():
    values = np.random.default_rng(1).normal(3.0, 2.0, 2000)
    found = mean(values.tolist(), draws=4000, seed=0)
    half = 1.959964 * values.std(ddof=1) / math.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_bootstrap_repeats_with_its_seed():
    values = [0.1, 0.5, 0.9, 0.4]
    assert mean(values, draws=300, seed=7) == mean(values, draws=300, seed=7)
    assert mean(values, draws=300, seed=7) != mean(values, draws=300, seed=8)
