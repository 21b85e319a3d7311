"""What every curriculum keeps to, as training plans its steps from a recipe."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from mbpo_core.config import training as config
from mbpo_core.grouping import Candidate, Group
from mbpo_core.training import TrainingConfig, levels_of_groups, planned_steps
from tasks.train_process import training_config
from tests.contracts.unions import members
from tests.pipelines import small_recipe

ANY = TypeAdapter(config.Curriculum)
CASES = {
    "shuffled": config.Shuffled(),
    "two-levels": config.EasyToHard(levels=2),
    "three-levels": config.EasyToHard(),
}
every = pytest.mark.parametrize("curriculum", CASES.values(), ids=CASES)
RECIPE = small_recipe()


def settings(curriculum: config.Curriculum, **changes) -> TrainingConfig:
    """The settings of training for a recipe with this curriculum."""
    train = RECIPE.train.model_copy(update={"curriculum": curriculum})
    found = training_config(RECIPE.model_copy(update={"train": train}))
    changes = {"online_epochs": 0, "offline_epochs": 2, "max_steps": None} | changes
    return replace(found, groups_per_step=4, **changes)


def groups(count: int = 18) -> list[Group]:
    """Pairs whose difficulties have nothing to do with their names."""
    hard = random.Random(0).sample(range(count), count)
    return [
        Group(
            f"g{i:02}", "offline", f"s{i}", "image", "What is it?",
            (Candidate("chosen", "A cat.", "image"), Candidate("rejected", "A dog.", "image")),
            difficulty=float(hard[i] // 2),
        )
        for i in range(count)
    ]  # fmt: skip


def test_every_member_has_a_case():
    assert {type(case) for case in CASES.values()} == set(members(config.Curriculum))


@every
@given(epochs=st.integers(1, 3), count=st.integers(1, 20))
def test_every_group_has_its_epochs_unless_steps_are_bounded(curriculum, epochs, count):
    plan = planned_steps(groups(count), settings(curriculum, offline_epochs=epochs))
    seen = Counter(name for step in plan for name in step)
    assert seen == {group.group_id: epochs for group in groups(count)}
    assert all(1 <= len(step) == len(set(step)) <= 4 for step in plan)


@every
@given(order=st.permutations(range(18)), seed=st.integers(0, 9))
def test_the_order_given_does_not_count(curriculum, order, seed):
    given_order = [groups()[i] for i in order]
    chosen = settings(curriculum, seed=seed)
    assert planned_steps(given_order, chosen) == planned_steps(groups(), chosen)
    assert levels_of_groups(given_order, chosen) == levels_of_groups(groups(), chosen)


@every
def test_the_seed_of_the_recipe_changes_the_order(curriculum):
    plans = [planned_steps(groups(), settings(curriculum, seed=seed)) for seed in range(4)]
    assert len({str(plan) for plan in plans}) == 4


@every
def test_phases_do_not_get_easier(curriculum):
    chosen = settings(curriculum)
    level = levels_of_groups(groups(), chosen)
    difficulty = {group.group_id: group.difficulty for group in groups()}
    plan = planned_steps(groups(), chosen)
    if isinstance(curriculum, config.Shuffled):
        assert level == {}
        means = [sum(map(difficulty.get, step)) / len(step) for step in plan]
        assert means != sorted(means)
        return
    phases = [{level[name] for name in step} for step in plan]
    assert all(len(phase) == 1 for phase in phases)
    order = [phase.pop() for phase in phases]
    assert order == sorted(order) and set(order) == set(range(curriculum.levels))
    for easy in range(curriculum.levels - 1):
        hardest = max(difficulty[name] for name in level if level[name] == easy)
        assert hardest <= min(difficulty[name] for name in level if level[name] == easy + 1)


@every
@given(bound=st.integers(3, 40))
def test_a_bound_on_the_steps_holds_and_leaves_no_level_out(curriculum, bound):
    whole = planned_steps(groups(), settings(curriculum))
    chosen = settings(curriculum, max_steps=bound)
    plan = planned_steps(groups(), chosen)
    assert len(plan) <= min(bound, len(whole))
    assert len(plan) == min(bound, len(whole)) or isinstance(curriculum, config.EasyToHard)
    assert all(step in whole for step in plan)
    level = levels_of_groups(groups(), chosen)
    assert {level[name] for step in plan for name in step if level} == set(level.values())


@every
def test_it_survives_json_and_reaches_training(curriculum):
    assert ANY.validate_json(curriculum.model_dump_json()) == curriculum
    chosen = settings(curriculum)
    assert chosen.curriculum == curriculum.kind
    for name in type(curriculum).model_fields.keys() - {"kind"}:
        assert getattr(chosen, name) == getattr(curriculum, name)
