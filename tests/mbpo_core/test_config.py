import json

import pytest
from pydantic import ValidationError

from mbpo_core.config import PGDMiner, PretrainedModel, Recipe, parse_override
from mbpo_core.recipes import RECIPES, configured, load_recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize("name", ["mbpo-qwen2-vl-7b", "mbpo-qwen2.5-vl-7b"])
def test_the_papers_recipes_state_the_papers_settings(name):
    recipe = load_recipe(name)
    assert recipe.scorer.name == "Qwen/Qwen2-VL-2B-Instruct"
    assert (recipe.mine.steps, recipe.mine.step_size) == (20, 4 / 255)
    assert recipe.mine.epsilon == 16 / 255 and recipe.mine.iterate == "last"
    objective = recipe.train.objective
    assert (objective.beta, objective.generations, objective.chosen_reward) == (0.04, 8, 2.0)
    assert recipe.train.learning_rate == 1e-6 and recipe.train.online_epochs == 1
    assert recipe.ingest.max_pixels == 401_408


def test_epsilon_in_grey_levels_is_refused_with_a_hint():
    with pytest.raises(ValidationError, match=r"must be in \[0, 1\], got 8.*did you mean 8 / 255"):
        PGDMiner(epsilon=8)


def test_epsilon_between_two_levels_names_both():
    with pytest.raises(ValidationError, match=r"7/255.*8/255"):
        PGDMiner(epsilon=0.03)


def test_fractions_and_null_are_values_of_epsilon():
    assert PGDMiner(epsilon="8/255").epsilon == 8 / 255
    assert PGDMiner(epsilon=None).epsilon is None


@pytest.mark.parametrize("text", ["8/0", "a/255", "__import__('os')/1"])
def test_a_broken_fraction_is_an_error_of_the_field(text):
    with pytest.raises(ValidationError, match="epsilon"):
        PGDMiner(epsilon=text)


def test_unknown_keys_are_errors_that_name_them():
    with pytest.raises(ValidationError, match="stepsize"):
        PGDMiner(stepsize=4 / 255)
    with pytest.raises(ValueError, match=r"unknown setting 'mine\.stepsize'.*step_size"):
        configured("mbpo", {"mine.stepsize": 1})
    with pytest.raises(ValueError, match=r"unknown setting 'nope\.steps'"):
        configured("mbpo", {"nope.steps": 1})


def test_overrides_replace_single_values_and_are_checked():
    recipe = configured("mbpo", dict([parse_override("mine.steps=7"),
                                      parse_override("mine.epsilon=8/255")]))  # fmt: skip
    assert (recipe.mine.steps, recipe.mine.epsilon) == (7, 8 / 255)
    assert recipe.select == load_recipe("mbpo").select
    with pytest.raises(ValidationError, match=r"select\.k"):
        configured("mbpo", {"select.k": 5000})


def test_a_pilot_limits_records_and_questions():
    recipe = configured("mbpo-qwen2-vl-7b", {}, limit=32)
    assert recipe.ingest.limit == recipe.evaluate.limit == 32


def test_a_recipe_file_is_read_and_a_missing_one_named(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(load_recipe("mbpo").model_dump(mode="json") | {"name": "own"}))
    assert load_recipe(str(path)).name == "own"
    with pytest.raises(ValueError, match="recipe file not found"):
        load_recipe(str(tmp_path / "other.json"))
    with pytest.raises(ValueError, match="unknown recipe 'nope'; there are mbpo"):
        load_recipe("nope")


def test_an_override_without_a_value_is_refused():
    with pytest.raises(ValueError, match="expected KEY=VALUE"):
        parse_override("mine.steps")


def test_a_frozen_recipe_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        PretrainedModel(name="x/y").name = "other"
