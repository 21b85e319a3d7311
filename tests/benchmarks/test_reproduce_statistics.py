"""Pairing, intervals and verdicts of the reproduction, against scipy and constructed cases."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.compare.table import Cell
from benchmarks.reproduce.claims import CLAIMS, FAILS, HOLDS, NOT_RUN, OPEN, Claim, verdict
from benchmarks.reproduce.paired import Difference, alone, paired, value
from benchmarks.reproduce.rows import ROWS
from tests.benchmarks.reproduce_records import N_SCENES, record, runs

A, B = runs("full", 4, chair=0.15), runs("sft", 4, chair=0.35)


def test_the_paired_interval_is_that_of_a_paired_t_test():
    found = paired(A, B, "CHAIR_i")
    a, b = ([value(each[unit], "CHAIR_i") for unit in sorted(A)] for each in (A, B))
    expected = stats.ttest_rel(a, b)
    low, high = expected.confidence_interval(0.95)
    assert found.student.n == 8
    assert (found.student.low, found.student.high) == pytest.approx((low, high))
    assert found.student.mean == pytest.approx(np.mean(a) - np.mean(b))
    assert found.by_base["base-1"].mean == pytest.approx(np.mean(a[4:]) - np.mean(b[4:]))


def test_a_unit_counts_only_where_both_rows_ran():
    part = {unit: run for unit, run in B.items() if unit[1] != 2}
    found = paired(A, part, "CHAIR_i")
    assert found.student.n == 6
    undefined = {("base-0", 0): record("sft", metrics={"counter": {"all": {"chair_i": None}}})}
    assert paired(A, undefined, "CHAIR_i").student is None


def test_the_base_model_stands_for_every_seed_and_another_run_of_seed_0_does_not():
    base = {("base-0", 0): record("base", chair=0.6)}
    found = paired(A, base, "CHAIR_i", 0.5)
    expected = [value(A["base-0", seed], "CHAIR_i") - value(base["base-0", 0], "CHAIR_i") / 2
                for seed in range(4)]  # fmt: skip
    assert found.student.n == 4 and found.student.mean == pytest.approx(np.mean(expected))
    assert paired(A, {("base-0", 0): record("sft")}, "CHAIR_i").student.n == 1


def test_with_one_run_the_bootstrap_over_scenes_is_that_of_scipy():
    one = {("base-0", 0): record("full", chair=0.3)}
    scenes = one["base-0", 0].scenes["counter"]
    low, high = alone(one, "CHAIR_i", draws=4000).bootstrap

    def chair(wrong, said, axis=-1):
        return wrong.sum(axis=axis) / said.sum(axis=axis)

    expected = stats.bootstrap(
        (np.array(scenes["hallucinated"]), np.array(scenes["mentions"])), chair, paired=True,
        method="percentile", n_resamples=4000, rng=np.random.default_rng(5), vectorized=True,
    ).confidence_interval  # fmt: skip
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_the_bootstrap_pairs_scenes_and_seeds_and_knows_both_variances():
    same = paired(A, A, "CHAIR_i")
    assert same.bootstrap == (0.0, 0.0) and same.student.mean == 0.0
    alike = runs("full", 4, bases=("base-0",), chair=0.3)
    for seed in range(1, 4):
        alike["base-0", seed] = record("full", seed=seed, scenes=alike["base-0", 0].scenes)
    scenes_alone = alone(alike, "accuracy, counter").bootstrap
    sums = np.array(alike["base-0", 0].scenes["counter"]["right"]) / 6
    error = sums.std() / np.sqrt(N_SCENES)
    assert scenes_alone[1] - scenes_alone[0] == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_a_figure_without_scenes_has_students_interval_alone():
    assert paired(A, B, "IIG").bootstrap is None
    assert paired(A, B, "IIG").bounds == (0.0, 0.0)


def test_curves_are_told_by_how_much_they_rise():
    reward = [[step, 0.5 if step <= 20 else 0.75] for step in range(1, 101)]
    gains = {"chosen": [[0, 1.0], [50, 1.5], [100, 2.0]], "rejected": [[0, 0.5], [100, 0.75]]}
    run = record("online", curves={"reward": reward, **gains})
    assert value(run, "rise of the reward") == pytest.approx(0.25)
    assert value(run, "rise of the chosen gain") == 1.0
    assert value(run, "rise of the gap") == 0.75
    assert value(record("online"), "rise of the reward") is None


@pytest.mark.parametrize(
    ("student", "bootstrap", "below", "said"),
    [((-0.3, -0.1), (-0.2, -0.1), True, HOLDS), ((-0.3, -0.1), (-0.2, 0.1), True, OPEN),
     ((-0.3, 0.1), (-0.2, -0.1), True, OPEN), ((0.1, 0.2), (0.1, 0.3), True, FAILS),
     ((0.1, 0.2), (0.1, 0.3), False, HOLDS), ((-0.2, -0.1), (-0.2, -0.1), False, FAILS)],
)  # fmt: skip
def test_a_claim_is_decided_where_both_intervals_say_so(student, bootstrap, below, said):
    found = Difference(Cell(sum(student) / 2, *student, 5), bootstrap, {})
    assert verdict(Claim("", "", "CHAIR_i", "full", "sft", below=below), found) == said


def test_bounds_move_the_line_and_too_few_runs_decide_nothing():
    claim = Claim("", "", "accuracy, typical", "full", "base", below=False, bound=-0.01)
    base = {("base-0", 0): record("base"), ("base-1", 0): record("base", "base-1")}
    assert verdict(claim, paired(base, base, "accuracy, typical")) == HOLDS
    assert verdict(claim, claim.difference({})) == NOT_RUN
    one = {unit: run for unit, run in A.items() if unit == ("base-0", 0)}
    assert verdict(claim, paired(one, one, "CHAIR_i")) == OPEN


def test_every_claim_is_about_known_rows_and_figures():
    every = {name: runs(name, 2, curves={"reward": [[n, 0.5] for n in range(100)],
                                         "chosen": [[0, 1], [9, 2]], "rejected": [[0, 1], [9, 1]]})
             for name in ROWS}  # fmt: skip
    for claim in CLAIMS:
        assert claim.a in ROWS and (claim.b is None or claim.b in ROWS)
        assert claim.difference(every).student.n == 4, claim
    assert len({claim.text for claim in CLAIMS}) == len(CLAIMS)
