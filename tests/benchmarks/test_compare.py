"""The comparison of recipes: its rows, what is cached, and the arithmetic of its table."""

import json
import math

import pytest
from scipy import stats

from benchmarks.compare.rows import RATES, STEPS, Row, recipe_of, rows
from benchmarks.compare.runs import Finished, Run, finished, run_all
from benchmarks.compare.table import (
    COLUMNS,
    Cell,
    cell,
    figures,
    markdown,
    quality,
    summary,
)
from mbpo_core.recipes import METHODS
from tests.servers import CHECKOUT


def test_there_is_a_row_for_every_recipe_and_the_three_controls():
    names = [row.name for row in rows()]
    recipes = {method.__name__.replace("_", "-") for method in METHODS}
    assert set(names) - recipes == {"sft-selected", "dpo-adversarial", "mbpo-shuffled"}
    assert recipes <= set(names) and len(set(names)) == len(names)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_rows_differ_in_the_method_alone(row):
    recipe = recipe_of(row, "test", 2, None, 100)
    other = recipe_of(rows()[0], "test", 2, None, 100)
    assert recipe.seed == 2 and recipe.train.max_steps == STEPS
    for part in ("policy", "ingest"):
        assert getattr(recipe, part) == getattr(other, part)
    assert recipe.train.groups_per_step == other.train.groups_per_step
    assert recipe.evaluate.benchmarks == other.evaluate.benchmarks
    assert recipe_of(row, "dev", 0, RATES[0], 9).train.learning_rate == RATES[0]


def test_the_test_part_is_read_by_nothing_but_the_final_runs():
    parts = {b.part for b in recipe_of(rows()[0], "dev", 0, 1e-4, 9).evaluate.benchmarks}
    assert parts == {"dev"}


def test_controls_change_one_thing():
    by_name = {row.name: recipe_of(row, "test", 0, None, 9) for row in rows()}
    mbpo, shuffled = by_name["mbpo"], by_name["mbpo-shuffled"]
    same = {"pair": mbpo.pair, "answer": mbpo.answer, "train": mbpo.train}
    assert shuffled.model_copy(update=same) == mbpo
    assert shuffled.pair.rejected == "shuffled"
    adversarial, control = by_name["mbpo-offline-adversarial"], by_name["dpo-adversarial"]
    assert control.train.objective.kind == "preference"
    for part in ("score", "select", "mine", "respond", "pair"):
        assert getattr(control, part) == getattr(adversarial, part)
    assert by_name["sft-selected"].select == mbpo.select


def test_an_interval_is_students_over_seeds():
    values = [0.2, 0.5, 0.35]
    found = cell(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.mean == pytest.approx(0.35) and found.n == 3
    assert cell([None, None]) is None and cell([None, 0.5]).n == 1


METRICS = [
    {"benchmark": f"embedded/{split}", "kind": "all", "metric": metric, "value": value,
     "model": "trained"}
    for split, metric, value in (
        ("consistent", "accuracy", 0.9), ("counter", "accuracy", 0.5),
        ("consistent", "chair_i", 0.1), ("counter", "chair_i", 0.3),
    )
]  # fmt: skip


def test_quality_is_the_mean_of_four_shares():
    found = figures([*METRICS, METRICS[0] | {"model": "base", "value": 0.0}])
    assert quality(found) == pytest.approx((0.9 + 0.5 + 0.9 + 0.7) / 4)
    assert quality(found | {"CHAIR_i": None}) == pytest.approx((0.9 + 0.5 + 0.9) / 4)


def test_unfinished_rows_say_so_and_rows_print_their_seeds():
    table = {
        "done": {"seeds": 2, "cells": summary([figures(METRICS), figures(METRICS)])},
        "other": {"seeds": 0, "cells": summary([])},
    }
    text = markdown(table, ["accuracy, counter", "accuracy, blank"])
    assert "| done | 0.500 ± 0.000 | undefined | 2 |" in text
    assert "| other | not run | not run | 0 |" in text


def test_what_is_done_is_not_done_again_and_other_settings_are(tmp_path):
    asked = []

    def do(each, root):
        asked.append(each.seed)
        if each.seed == 1 and len(asked) < 4:
            raise RuntimeError("broken")
        return Finished(METRICS, 1.0, 1e-4, STEPS, 12)

    runs = [Run(Row("mbpo", "mbpo"), "test", seed) for seed in range(3)]
    with pytest.raises(ExceptionGroup, match="1 of 3 runs failed"):
        list(run_all(runs, tmp_path, at_once=1, do=do))
    assert finished(runs[1], tmp_path) is None and finished(runs[2], tmp_path) is not None
    list(run_all(runs, tmp_path, at_once=1, do=do))
    assert asked == [0, 1, 2, 1]
    changed = Run(Row("mbpo", "mbpo", {"mine.steps": 1}), "test", 0)
    assert finished(changed, tmp_path) is None
    assert math.isclose(finished(runs[0], tmp_path).learning_rate, 1e-4)


def test_the_page_shows_what_was_measured_and_all_of_it():
    results = json.loads((CHECKOUT / "benchmarks/compare/results.json").read_text())["rows"]
    assert list(results) == ["base", *(row.name for row in rows())]
    page = (CHECKOUT / "docs/comparison.md").read_text()
    for name, row in results.items():
        cells = [str(Cell(**row["cells"][column])) for column in list(COLUMNS)[:6]]
        label = name if name == "base" else f"`{name}`"
        assert f"| {label} | {' | '.join(cells)} | {row['seeds']} |" in page


def test_the_committed_rates_are_the_best_of_the_trials():
    trials = json.loads((CHECKOUT / "benchmarks/compare/trials.json").read_text())
    for row in rows():
        rates = trials[row.name]
        assert set(rates) == {f"{rate:g}" for rate in RATES}
        chosen = recipe_of(row, "test", 0, None, 9).train.learning_rate
        assert rates[f"{chosen:g}"] == max(rates.values())
