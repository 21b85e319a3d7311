"""The rows of the reproduction are what they say, and settings come from equal trials on dev."""

import json

import pytest

from benchmarks.reproduce.bases import COMMITTED as COMMITTED_MODEL
from benchmarks.reproduce.bases import Base
from benchmarks.reproduce.ledger import Done, Ledger, settings_id, settings_of
from benchmarks.reproduce.rows import (
    CONTESTANTS,
    GROUPS,
    GROUPS_PER_STEP,
    PARTS,
    ROWS,
    STEPS,
    Row,
    overrides_of,
    recipe_of,
)
from benchmarks.reproduce.runs import run_of
from benchmarks.reproduce.trials import ROUNDS, SETTINGS, TRIAL_SEED, best, choose, trial_row, tried
from mbpo_core.config import EmbeddedModel, Recipe
from tests.benchmarks.reproduce_records import record
from tests.servers import CHECKOUT

MODEL = EmbeddedModel().model_dump(mode="json")
TRAINED = [row for row in ROWS.values() if row.contestant is not None]
COMMITTED = json.loads(SETTINGS.read_text())["chosen"] if SETTINGS.is_file() else {}


def recipe(row, settings=COMMITTED, part="final"):
    return recipe_of(row, settings, model=MODEL, part=part, seed=3)


def flat(value, prefix=""):
    if not isinstance(value, dict):
        return {prefix[:-1]: value}
    return {name: found for key, each in value.items()
            for name, found in flat(each, f"{prefix}{key}.").items()}  # fmt: skip


def differing(a, b):
    a, b = flat(settings_of(a)), flat(settings_of(b))
    return {name for name in a.keys() | b.keys() if a.get(name) != b.get(name)} - {"name"}


@pytest.mark.parametrize("row", TRAINED, ids=lambda row: row.name)
def test_a_row_differs_from_its_contestant_in_what_it_names_and_in_nothing_else(row):
    plain = recipe(ROWS[row.contestant])
    changes = overrides_of(row, COMMITTED)
    named = {
        name
        for name, value in changes.items()
        if value != overrides_of(ROWS[row.contestant], COMMITTED).get(name, "unset")
    }
    changed = differing(recipe(row), plain)
    assert changed <= named  # (10,4) names the step size that it keeps
    assert (row.name == row.contestant) == (not changed)


@pytest.mark.parametrize("row", TRAINED, ids=lambda row: row.name)
def test_steps_groups_data_and_questions_are_the_same_for_all(row):
    made, full = recipe(row), recipe(ROWS["full"])
    assert (made.train.max_steps, made.train.groups_per_step) == (STEPS, GROUPS_PER_STEP)
    assert made.ingest == full.ingest and made.evaluate == full.evaluate
    assert made.seed == made.select.seed == 3
    for each in made.evaluate.benchmarks:
        assert (each.part, each.seed, each.scenes) == (*PARTS["final"], 100)


def test_dpo_and_sft_train_on_the_very_pairs_of_full_mbpo():
    full = recipe(ROWS["full"])
    for name in ("dpo", "sft"):
        made = recipe(ROWS[name])
        for part in ("scorer", "score", "select", "mine", "respond"):
            assert getattr(made, part) == getattr(full, part)
        assert made.pair.rejected == "own" and made.train.online_epochs == 0
        assert made.train.objective.kind == {"dpo": "preference", "sft": "sft"}[name]


def test_the_rows_of_table_3_are_the_papers_pairs_and_those_of_epsilon_its_radii():
    pairs = [(made.mine.steps, round(made.mine.step_size * 255))
             for name in GROUPS["table3"].rows for made in [recipe(ROWS[name])]]  # fmt: skip
    assert pairs == [(5, 4), (10, 4), (20, 2), (20, 4), (20, 8)]
    balls = [recipe(ROWS[name]).mine.epsilon for name in GROUPS["epsilon"].rows[1:]]
    assert [ball and round(ball * 255) for ball in balls] == [8, 16, 32, None]


def test_a_recipe_leaves_the_values_that_it_is_made_of_as_they_are():
    settings = {"dpo": {"train.objective.beta": 0.3}}
    assert recipe(ROWS["dpo"], settings).train.objective.beta == 0.3
    assert recipe(ROWS["dpo"], {}).train.objective.beta == 0.1


def test_the_other_advantages_are_those_that_full_does_not_take():
    for chosen, other in (("pair", "raw"), ("raw", "pair")):
        settings = {"full": {"train.objective.advantages": chosen}}
        assert recipe(ROWS["full"], settings).train.objective.advantages == chosen
        assert recipe(ROWS["other-advantages"], settings).train.objective.advantages == other


def test_every_group_has_known_rows_and_subtracts_one_of_them():
    for group in GROUPS.values():
        assert set(group.rows) <= set(ROWS) and group.against in group.rows
    assert set(ROWS) == {name for group in GROUPS.values() for name in group.rows}
    assert GROUPS["table2"].seeds == 5 and all(group.seeds >= 3 for group in GROUPS.values())


def test_trials_are_equally_many_on_dev_and_change_training_alone():
    for number in range(len(ROUNDS)):
        assert list(ROUNDS[number]) == list(CONTESTANTS)
        for name in CONTESTANTS:
            made = recipe(trial_row(name, number), {}, "dev")
            assert {each.part for each in made.evaluate.benchmarks} == {"dev"}
            changed = differing(made, recipe(ROWS[name], {}, "dev"))
            allowed = {"pair.max_online", *(key for key in changed if key.startswith("train."))}
            assert changed and changed <= allowed
            assert made.train.max_steps == STEPS
    assert all(TRIAL_SEED not in range(group.seeds) for group in GROUPS.values())


def test_only_whole_rounds_of_trials_count_and_only_with_the_settings_they_were_run_with():
    base, changed = Base(0, COMMITTED_MODEL, "print"), {"full": {"train.learning_rate": 7e-4}}
    runs = [run_of(trial_row(name, 0), {}, base, "dev", TRIAL_SEED) for name in CONTESTANTS]
    other = run_of(Row("full #0", "full"), changed, base, "dev", TRIAL_SEED)

    def rounds(*those):
        settings = {settings_id(each.recipe): Recipe.model_validate(settings_of(each.recipe))
                    for each in those}  # fmt: skip
        records = [record(each.row.name, seed=TRIAL_SEED, part="dev", fingerprint="print",
                          recipe=settings_id(each.recipe)) for each in those]  # fmt: skip
        return {len(found) for found in tried(Done(settings, records), "print").values()}

    assert rounds(*runs) == {1}
    assert rounds(*runs[1:]) == rounds(other, *runs[1:]) == {0}


def test_the_rule_takes_the_lowest_chair_that_keeps_the_typical_accuracy():
    def trial(chair, typical):
        shares = {"accuracy": 0.7, "chair_i": chair}
        metrics = {"counter": {"all": shares},
                   "consistent": {"all": {"accuracy": typical, "chair_i": 0.0}}}  # fmt: skip
        return record("full #0", part="dev", metrics=metrics)

    base = trial(0.5, 0.93)
    assert best([trial(0.1, 0.90), trial(0.3, 0.93), trial(0.2, 0.92)], base) == 2
    assert best([trial(0.1, 0.90), trial(0.3, 0.91)], base) == 0
    assert best([trial(None, 0.93), trial(0.4, 0.93)], base) == 1


@pytest.mark.skipif(not SETTINGS.is_file(), reason="no settings are chosen yet")
def test_the_committed_settings_are_what_the_rule_makes_of_the_committed_trials():
    done = Ledger(CHECKOUT / "benchmarks/reproduce/trials.jsonl").read()
    assert json.loads(SETTINGS.read_text()) == json.loads(json.dumps(choose(done)))
