"""From a recipe's settings to the core's: nothing is lost, nothing is named twice."""

import dataclasses
from dataclasses import replace

import pytest

from mbpo_core import config
from mbpo_core.config import TrainConfig
from mbpo_core.objectives.grpo import HybridGRPO
from mbpo_core.recipes import load_recipe
from mbpo_core.training import planned_steps
from tasks.train_process import _uses, objective_of, training_config
from tests.mbpo_core.training.conftest import offline_group, online_group

OTHER = {
    "beta": 0.5,
    "clip": 0.1,
    "advantages": "raw",
    "aggregate": "token",
    "chosen_reward": 3.0,
    "rejected_reward": -1.0,
}
ROLLOUTS = {"generations": 3, "temperature": 0.7, "top_p": 0.9, "max_new_tokens": 5}


def test_the_hybrid_loss_takes_its_settings_and_the_trainer_those_of_rollouts():
    settings = config.HybridGRPO(**OTHER, **ROLLOUTS)
    recipe = load_recipe("mbpo")
    train = recipe.train.model_copy(update={"objective": settings})
    assert objective_of(train) == HybridGRPO(**OTHER)
    assert {f.name for f in dataclasses.fields(HybridGRPO)} - set(OTHER) == {"eps"}
    found = training_config(recipe.model_copy(update={"train": train}))
    assert (found.num_generations, found.temperature) == (3, 0.7)
    assert (found.top_p, found.max_new_tokens) == (0.9, 5)
    assert found.learning_rate == recipe.train.learning_rate


def test_the_defaults_of_both_are_the_same():
    assert objective_of(TrainConfig()) == HybridGRPO()


@pytest.mark.parametrize("curriculum", ["shuffled", "easy_to_hard"])
def test_every_group_says_how_often_it_was_used_and_at_what_level(curriculum):
    groups = [replace(offline_group(i), difficulty=float(-i)) for i in range(3)]
    rows = [{"group_id": g.group_id, "stream": g.stream} for g in [*groups, online_group(9)]]
    reasons = {row["group_id"]: None for row in rows} | {"prompt-9": "too_long"}
    settings = replace(
        training_config(load_recipe("mbpo")),
        curriculum=curriculum, groups_per_step=1, offline_epochs=2, max_steps=3,
    )  # fmt: skip
    found = _uses(rows, groups, reasons, settings, [])
    levels = [2, 1, 0, None] if curriculum == "easy_to_hard" else [None] * 4
    assert [row["level"] for row in found] == levels
    assert [row["uses"] for row in found] == [1, 1, 1, 0]
    assert [row["reason"] for row in found] == [None, None, None, "too_long"]


def test_every_group_names_the_steps_that_used_it_but_not_those_that_skipped_it():
    groups = [offline_group(i) for i in range(3)]
    rows = [{"group_id": g.group_id, "stream": g.stream} for g in groups]
    reasons = {row["group_id"]: None for row in rows}
    settings = replace(
        training_config(load_recipe("mbpo")),
        groups_per_step=2, offline_epochs=2, max_steps=3, iterations=1,
    )  # fmt: skip
    plan = planned_steps(groups, settings)
    lost = {"step": 1, "group_id": plan[0][1], "reason": "nonfinite_loss"}
    found = {row["group_id"]: row for row in _uses(rows, groups, reasons, settings, [lost])}
    for step, batch in enumerate(plan, start=1):
        used = {name for name, row in found.items() if step in row["steps"]}
        assert used == set(batch) - ({plan[0][1]} if step == 1 else set())
    assert all(row["uses"] == len(row["steps"]) for row in found.values())
    twice = _uses(rows, groups, reasons, replace(settings, iterations=2, save_every=0), [])
    assert sorted(step for row in twice for step in row["steps"]) == [1, 1, 2, 2, 3]
