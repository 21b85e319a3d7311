"""Benchmarks that training asks while it runs."""

import shutil

import pytest
import torch
from pydantic import ValidationError

from mbpo_core.models.loading import load_policy
from storage.store import ArtifactStore
from tasks.pipeline import Choice
from tests.pipelines import rows, run, runtime, small_recipe

ASKED = {"kind": "embedded", "split": "counter", "part": "dev", "scenes": 3}


@pytest.fixture(scope="module")
def measured(finished, tmp_path_factory):
    """A training run that asks a benchmark after every step, and the store that it is in."""
    root, _, before = finished
    copy = tmp_path_factory.mktemp("measured") / "store"
    shutil.copytree(root, copy)
    recipe = small_recipe(train__benchmarks=[ASKED], train__benchmark_every=1,
                          train__benchmark_questions=10)  # fmt: skip
    made = run(recipe, runtime(copy), Choice(only=("train",)))
    return copy, before["train"].ref, made["train"].ref


def test_figures_are_logged_at_the_start_at_every_step_and_at_the_end(measured):
    root, _, _ = measured
    found = rows(root, "train", "train_benchmarks")
    assert {row["step"] for row in found} == {0, 1, 2}
    accuracy = [row for row in found if row["metric"] == "accuracy" and row["kind"] == "all"]
    assert [row["step"] for row in accuracy] == [0, 1, 2]
    assert len({row["n"] for row in accuracy}) == 1 and 0 < accuracy[0]["n"] <= 10
    for row in accuracy:
        assert row["benchmark"] == "embedded/counter"
        assert row["low"] <= row["value"] <= row["high"]


def test_measuring_changes_nothing_of_the_training(measured):
    root, plain, asked = measured
    store = ArtifactStore(root)
    assert plain.key != asked.key
    for table in ("train_steps", "train_rollouts", "train_probes"):
        assert store.table(plain, table) == store.table(asked, table)
    one, other = (load_policy(str(store.files(ref) / "model")).model.state_dict()
                  for ref in (plain, asked))  # fmt: skip
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_first_figures_are_those_of_the_base_model(measured):
    """What is logged before the first step is what `evaluate` says of the untrained model."""
    root, _, _ = measured
    recipe = small_recipe(
        evaluate__benchmarks=[ASKED], evaluate__limit=None, answer__models=["base"],
        train__benchmarks=[ASKED], train__benchmark_questions=100, train__benchmark_every=9,
        train__max_steps=1,
    )  # fmt: skip
    run(recipe, runtime(root), Choice(only=("train",)))
    run(recipe, runtime(root), Choice(only=("ask", "answer", "evaluate")))
    logged = {(row["kind"], row["metric"]): row["value"]
              for row in rows(root, "train", "train_benchmarks") if row["step"] == 0}  # fmt: skip
    evaluated = {(row["kind"], row["metric"]): row["value"]
                 for row in rows(root, "evaluate", "metrics")
                 if row["metric"] != "iig_mean"}  # fmt: skip
    assert logged == evaluated


def test_no_judge_is_asked_during_training():
    judged = {"kind": "mmhal", "questions": ["mmhal.json"]}
    with pytest.raises(ValidationError, match="no judge is asked during training"):
        small_recipe(train__benchmarks=[judged])
