import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbpo_core.evaluation.statistics import (
    Z_95,
    Block,
    Figure,
    block,
    differences,
    divide,
    estimates,
    quotient,
    rounded,
    share,
)

RATIO = Figure("ratio", quotient(0, 1))
SHARE = Figure("share", quotient(0, 1), wilson=True)
ROWS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 3), st.integers(0, 3)), min_size=1,
    max_size=12,
)  # fmt: skip


def of(rows, figures=(RATIO,)):
    return block("all", [unit for unit, *_ in rows], [terms for _, *terms in rows], figures)


def only(found):
    ((_, estimate),) = found
    return estimate


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


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_a_share_of_independent_answers_has_wilsons_interval(answers):
    rows = [(str(i), float(right), 1.0) for i, right in enumerate(answers)]
    found = only(estimates(of(rows, [SHARE]), draws=3, seed=0))
    assert found == share(sum(answers), len(answers))


@settings(max_examples=40, deadline=None)
@given(ROWS, st.integers(0, 5))
def test_the_bootstrap_of_a_ratio_is_brute_force_resampling_of_units(rows, seed):
    """Whole units are drawn with replacement and their rows summed, one draw after another."""
    units = list(dict.fromkeys(unit for unit, *_ in rows))
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(50):
        above = below = 0
        for index in rng.integers(0, len(units), len(units)):
            members = [row for row in rows if row[0] == units[index]]
            above, below = above + sum(r[1] for r in members), below + sum(r[2] for r in members)
        drawn += [above / below] if below else []
    found = only(estimates(of(rows), draws=50, seed=seed))
    above, below = sum(row[1] for row in rows), sum(row[2] for row in rows)
    assert found.n == len(rows)
    if not below:
        assert (found.value, found.low, found.high) == (None, None, None)
        return
    assert found.value == pytest.approx(above / below)
    if drawn:
        assert [found.low, found.high] == pytest.approx(list(np.quantile(drawn, [0.025, 0.975])))


def test_a_ratio_is_of_sums_not_a_mean_of_ratios():
    found = only(estimates(of([("a", 1, 1), ("b", 0, 3)]), draws=200, seed=0))
    assert found.value == 1 / 4  # a mean of ratios would give 1/2
    assert found.low <= found.value <= found.high


def test_answers_about_one_image_are_drawn_together():
    """Ten copies of each answer make an interval of the same width, not a narrower one."""
    once = [(f"image {i}", float(i % 3 == 0), 1.0) for i in range(60)]
    alone, copied = (
        only(estimates(of(rows), draws=1000, seed=0)) for rows in (once, [r for r in once] * 10)
    )
    assert (copied.low, copied.high) == (alone.low, alone.high)
    ignored = [(f"{unit} {i}", *terms) for i, (unit, *terms) in enumerate(once * 10)]
    independent = only(estimates(of(ignored), draws=1000, seed=0))
    assert independent.high - independent.low < 0.5 * (alone.high - alone.low)


def test_bootstrap_interval_of_a_mean_agrees_with_normal_theory():
    values = np.random.default_rng(1).normal(3.0, 2.0, 2000)
    rows = [(str(i), value, 1.0) for i, value in enumerate(values)]
    found = only(estimates(of(rows), draws=4000, seed=0))
    half = 1.959964 * values.std(ddof=1) / math.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_bootstrap_repeats_with_its_seed():
    rows = of([(str(i), v, 1.0) for i, v in enumerate([0.1, 0.5, 0.9, 0.4])])
    assert only(estimates(rows, draws=300, seed=7)) == only(estimates(rows, draws=300, seed=7))
    assert only(estimates(rows, draws=300, seed=7)) != only(estimates(rows, draws=300, seed=8))


def test_a_block_without_rows_or_without_a_row_for_a_unit():
    assert only(estimates(of([]), draws=5, seed=0)).value is None
    assert only(differences(of([]), of([]), draws=5, seed=0)).n == 0
    with pytest.raises(ValueError, match=r"expected terms \[2, k\]"):
        Block("all", ("a", "b"), np.zeros((1, 2)), (RATIO,))


@settings(max_examples=30, deadline=None)
@given(ROWS)
def test_identical_models_differ_by_nothing(rows):
    found = only(differences(of(rows), of(rows), draws=50, seed=0))
    if found.a is None:
        assert found.difference is None
    else:
        assert (found.difference, found.low, found.high) in [(0, 0, 0), (0, None, None)]


@settings(max_examples=30, deadline=None)
@given(ROWS, st.randoms())
def test_the_order_of_one_models_answers_does_not_matter(rows, random):
    shuffled = random.sample(rows, len(rows))
    found = only(differences(of(rows), of(shuffled), draws=20, seed=0))
    assert found.difference is None or found.difference == found.low == found.high == 0 or (
        found.low is None
    )  # fmt: skip


def test_a_paired_interval_is_narrower_where_the_models_err_on_the_same_questions():
    rng = np.random.default_rng(0)
    a = rng.random(800) < 0.6
    b = np.where(rng.random(800) < 0.05, ~a, a)
    blocks = [of([(str(i), float(x), 1.0) for i, x in enumerate(right)]) for right in (a, b)]
    paired = only(differences(*blocks, draws=1000, seed=0))
    assert paired.difference == pytest.approx(b.mean() - a.mean())
    alone = [only(estimates(each, draws=1000, seed=i)) for i, each in enumerate(blocks)]
    unpaired = math.hypot(*(each.high - each.low for each in alone))
    assert paired.high - paired.low < 0.5 * unpaired
    # Standard error of the mean of paired differences, as in a paired t test.
    half = 1.96 * (b.astype(float) - a).std(ddof=1) / math.sqrt(800)
    assert (paired.high - paired.low) / 2 == pytest.approx(half, rel=0.15)


def test_a_paired_difference_needs_the_same_questions():
    with pytest.raises(ValueError, match="needs the same questions"):
        differences(of([("a", 1, 1)]), of([("b", 1, 1)]), draws=5, seed=0)


@given(st.integers(-10, 10), st.integers(-10, 10))
def test_division_by_nothing_is_undefined(above, below):
    found = float(divide(np.array(float(above)), np.array(float(below))))
    assert math.isnan(found) if below == 0 else found == above / below


@given(st.lists(st.floats(-1, 101), max_size=8))
def test_rounding_is_pythons(values):
    assert rounded(np.array(values), 1).tolist() == [round(value, 1) for value in values]


def test_pythons_rounding_is_not_numpys():
    values = np.arange(0, 100, 0.05)
    assert (rounded(values, 1) != np.round(values, 1)).any()
