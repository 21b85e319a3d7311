"""What enters a stage's key: the code that it reaches, and no other."""

import pytest

from mbpo_core.recipes import load_recipe
from tasks.registry import STAGES
from tasks.runtime import Runtime
from tests.pipelines import small_recipe


@pytest.mark.parametrize(
    ("stage", "reached", "not_reached"),
    [
        ("ingest", "mbpo_core.data.images", "mbpo_core.mining.pgd"),
        ("score", "mbpo_core.information_gain", "mbpo_core.mining.pgd"),
        ("select", "tasks.selection", "mbpo_core.training.run"),
        ("mine", "mbpo_core.mining.pgd", "mbpo_core.responses"),
        ("respond", "mbpo_core.responses", "mbpo_core.rewards"),
        ("train", "tasks.train_process", "tasks.evaluate"),
        ("train", "mbpo_core.objectives.grpo", "mbpo_core.evaluation.protocol"),
        ("train", "mbpo_core.rewards", "tasks.mine"),
        ("ask", "mbpo_core.evaluation.benchmarks", "mbpo_core.models.qwen_vl"),
        ("answer", "mbpo_core.models.qwen_vl", "mbpo_core.evaluation.benchmarks"),
        ("answer", "mbpo_core.information_gain", "mbpo_core.rewards"),
        ("evaluate", "mbpo_core.evaluation.statistics", "mbpo_core.training.run"),
        ("evaluate", "mbpo_core.evaluation.pope", "mbpo_core.models.qwen_vl"),
        ("report", "tasks.report.gallery", "mbpo_core.models.qwen_vl"),
        ("report", "tasks/report/page/gallery.js", "tasks.report.chosen"),
    ],
)
def test_a_stage_depends_on_the_code_that_it_reaches(stage, reached, not_reached, tmp_path):
    code = STAGES[stage].identity(small_recipe(), Runtime(root=tmp_path), {}).code
    assert reached in code and not_reached not in code


@pytest.mark.parametrize(
    ("stage", "setting", "module"),
    [
        ("train", {"train__benchmarks": [{"kind": "embedded", "split": "counter"}]},
         "mbpo_core.evaluation.embedded"),
        ("answer", {"answer__responses": {"path": __file__}}, "mbpo_core.evaluation.join"),
    ],
)  # fmt: skip
def test_code_of_what_a_recipe_does_without_is_not_part_of_its_keys(
    stage, setting, module, tmp_path
):
    def code(**changes):
        return STAGES[stage].identity(small_recipe(**changes), Runtime(root=tmp_path), {}).code

    assert module not in code() and module in code(**setting)


def test_the_queries_that_rank_enter_the_key_of_select(tmp_path, monkeypatch):
    def identity():
        return STAGES["select"].identity(small_recipe(), Runtime(root=tmp_path), {})

    before = identity()
    assert {"storage.sql.selection", "storage.sql.selection_table"} <= set(before.code)
    monkeypatch.setattr("tasks.stage.query_text", lambda name: f"-- another {name}")
    assert identity().key != before.key


def test_how_it_is_run_never_enters_a_key(tmp_path):
    recipe = small_recipe()
    hows = [Runtime(root=tmp_path), Runtime(root="elsewhere", workers=4, devices=("cpu",))]
    keys = {STAGES["ingest"].identity(recipe, how, {}).key for how in hows}
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("stage", "setting", "value", "changes"),
    [
        ("score", "score.max_length", 99, True),
        ("score", "mine.steps", 1, False),
        ("mine", "mine.steps", 1, True),
        ("mine", "train.learning_rate", 1, False),
        ("train", "train.objective.beta", 0.5, True),
        ("respond", "seed", 1, True),
    ],
)
def test_a_stage_depends_on_its_own_settings_and_the_seed(stage, setting, value, changes, tmp_path):
    recipe, how = load_recipe("mbpo"), Runtime(root=tmp_path)
    other = recipe.with_overrides({setting: value})
    one, two = (STAGES[stage].identity(r, how, {}).key for r in (recipe, other))
    assert (one != two) == changes


def test_another_attacked_model_changes_mine_and_the_report_that_tells_it(tmp_path):
    recipe, how = load_recipe("mbpo-qwen2-vl-7b"), Runtime(root=tmp_path)
    other = recipe.model_copy(update={"attacked": recipe.scorer})
    changed = {
        name
        for name, stage in STAGES.items()
        if name != "ingest"
        and stage.identity(recipe, how, {}).key != stage.identity(other, how, {}).key
    }
    assert changed == {"mine", "report"}


@pytest.mark.parametrize(
    ("settings", "enters"),
    [
        ({"scope": "regions", "keywords": 2}, True),
        ({"scope": "global", "keywords": 2}, False),
        ({"scope": "global", "t": 100}, True),
    ],
)
def test_settings_of_regions_enter_only_where_regions_are_looked_for(settings, enters):
    def config(**changes):
        mine = {"kind": "diffusion_noise"} | changes
        return STAGES["mine"].config(small_recipe(mine=mine, respond__sources=["negative"]))

    assert (config(**settings) != config(scope=settings["scope"])) == enters


@pytest.mark.parametrize(
    ("miner", "enters"),
    [
        ({"kind": "pgd"}, False),
        ({"kind": "blank"}, False),
        ({"kind": "crop"}, True),
        ({"kind": "uniform_noise"}, True),
        ({"kind": "diffusion_noise"}, True),
        ({"kind": "removal", "finder": {"kind": "truth"}}, False),
    ],
)
def test_the_runs_seed_enters_where_a_miner_draws(miner, enters):
    recipe = small_recipe(mine=miner)
    stage = STAGES["mine"]
    other = recipe.with_overrides({"seed": 9})
    assert (stage.config(recipe) != stage.config(other)) == enters
