"""The command line as a user types it, against a finished run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from flows.cli import app
from storage.store import ArtifactStore
from tasks.registry import ORDER
from tests.pipelines import SMALL, rows, run, runtime, small_recipe

PROJECT = Path(__file__).parents[2]


def mbpo(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


def settings(**changes):
    values = SMALL | changes
    return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A store that the command line itself filled."""
    folder = tmp_path_factory.mktemp("cli") / "store"
    done = mbpo("run", "mbpo", "--root", folder, "--workers", 1, *settings())
    assert done.exit_code == 0, done.output
    assert "metrics, with 95 % intervals" in done.output and str(folder) in done.output
    return folder


def test_plan_says_hit_and_miss_and_why(root):
    done = mbpo("plan", "mbpo", "--root", root, *settings())
    assert done.exit_code == 0 and done.output.count("hit") == len(ORDER)
    done = mbpo("plan", "mbpo", "--root", root, *settings(**{"respond.temperature": 0.5}))
    assert "config.respond.temperature: 1.0 -> 0.5" in done.output
    assert done.output.count("depends on a miss") == 5  # pair, train, answer, evaluate, report


def test_the_trained_checkpoint_of_the_store_is_evaluated_like_any_other(root):
    """Its answers are those of the run that trained it, in the precision of that run."""

    def answers():
        store = ArtifactStore(root)
        found = store.table(store.resolve("answer"), "answers").to_pylist()
        return {(r["model"], r["asked_id"]): (r["response"], r["iig_mean"]) for r in found}

    in_the_run, limit = answers(), SMALL["evaluate.limit"]
    words = ("-b", "embedded/counter", "--limit", limit, "--root", root)
    longest = ("--max-new-tokens", SMALL["answer.max_new_tokens"])
    done = mbpo("eval", "model", "train", *words, *longest)
    assert done.exit_code == 0, done.output
    alone = answers()
    assert {model for model, _ in alone} == {ArtifactStore(root).resolve("train").short}
    assert len(alone) == limit
    for (_, asked), (response, gain) in alone.items():
        expected = in_the_run["trained", asked]
        assert response == expected[0] and gain == pytest.approx(expected[1], abs=1e-5)
    done = mbpo("eval", "model", "train/ffff", *words)
    assert done.exit_code == 1 and "train/ffff" in done.output
    done = mbpo("eval", "model", "nobody/nowhere", *words)
    assert done.exit_code == 1 and "a hub id needs its revision" in done.output


@pytest.mark.parametrize("name", ["mbpo-qwen2-vl-7b", "mbpo-qwen2.5-vl-7b"])
def test_the_papers_recipes_are_planned_without_weights(name, tmp_path):
    source = tmp_path / "data.json"
    source.write_text(json.dumps([{"id": "a", "image": "a.jpg", "conversations": []}] * 50))
    done = mbpo("plan", name, "--root", tmp_path / "store", "--source", source)
    assert done.exit_code == 0, done.output
    assert "<= 50" in done.output and "~" in done.output


def test_a_plan_without_its_source_says_so(tmp_path):
    done = mbpo("plan", "mbpo-qwen2-vl-7b", "--root", tmp_path)
    assert done.exit_code == 0 and "source not found" in done.output


def test_stage_runs_one_stage_again(root):
    done = mbpo("stage", "mine", "--root", root, "--workers", 1, "--refresh", *settings())
    assert done.exit_code == 0, done.output
    assert "made mine/" in done.output


def test_run_and_stage_tell_as_json_what_they_made_or_found(root):
    done = mbpo("run", "mbpo", "--root", root, "--workers", 1, "--json", *settings())
    made = json.loads(done.stdout)["stages"]
    assert list(made) == list(ORDER) and all(each["hit"] for each in made.values())
    done = mbpo("stage", "ingest", "--root", root, "--workers", 1, "--json", *settings())
    (found,) = json.loads(done.stdout)["stages"].values()
    assert found["ref"] == made["ingest"]["ref"] and not found["computed"]


def test_sql_answers_as_a_table_and_as_json(root):
    done = mbpo("sql", "select count(*) as n from selection where chosen", "--root", root)
    assert done.exit_code == 0 and "8" in done.output
    counts = "select chosen, count(*) as n from selection group by 1 order by 1"
    done = mbpo("sql", "--json", counts, "--root", root)
    assert [json.loads(line)["n"] for line in done.output.splitlines()] == [34, 8]


def test_gallery_draws_a_sheet_where_it_was_asked_to_or_below_the_root(root, tmp_path):
    path = tmp_path / "new" / "sheet.png"
    done = mbpo("gallery", "pair", "--root", root, "--out", path, "--rows", 2)
    assert done.exit_code == 0, done.output
    with Image.open(path) as sheet:
        assert f"{sheet.width} x {sheet.height} pixels" in done.output
        few = sheet.height
    assert mbpo("gallery", "mine", "--root", root).exit_code == 0
    (sheet,) = (root / "gallery").glob("mine-*.png")
    with Image.open(sheet) as whole:
        assert whole.height > 3 * few
    done = mbpo("gallery", "select", "--root", root)
    assert done.exit_code == 2 and "made without mined images" in done.output


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["run", "nope"], 2, "unknown recipe 'nope'"),
        (["run", "mbpo", "--set", "mine.epsilon=8"], 2, "did you mean 8 / 255"),
        (["run", "mbpo", "--set", "mine.stepsize=1"], 2, "unknown setting 'mine.stepsize'"),
        (["run", "mbpo", "--set", "nothing"], 2, "expected KEY=VALUE"),
        (["stage", "mien"], 2, "unknown stage 'mien'"),
        (["stage", "mine"], 1, "mbpo stage ingest --recipe mbpo"),
        (["show", "nothing"], 1, "no artifact 'nothing'"),
        (["gallery", "nothing"], 1, "no artifact 'nothing'"),
        (["sql", "select nonsense"], 2, "nonsense"),
        (["run", "mbpo-qwen2-vl-7b", "--source", "gone.json"], 2, "source not found: gone.json"),
    ],
)
def test_what_a_user_can_mend_is_one_message(words, code, message, tmp_path):
    done = CliRunner().invoke(app, [*words, "--root", str(tmp_path)], env={"COLUMNS": "300"})
    assert done.exit_code == code, done.output
    assert message in done.output and "Traceback" not in done.output


def test_help_names_every_command():
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "--help"], cwd=PROJECT, capture_output=True, text=True
    )
    for command in ("run", "plan", "stage", "sql", "ls", "show", "gallery"):
        assert f" {command} " in done.stdout


def test_a_pilot_of_any_recipe_is_a_run_with_few_records(tmp_path):
    made = run(small_recipe(ingest__limit=14), runtime(tmp_path), None)
    assert ArtifactStore(tmp_path).manifest(made["ingest"].ref).rows == 14


def test_trace_tells_the_life_of_a_sample_and_every_step_of_the_run_is_accounted_for(root):
    chosen = [row for row in rows(root, "select", "selection") if row["rank"] == 1]
    done = mbpo("trace", chosen[0]["sample_id"][:12], "--root", root)
    assert done.exit_code == 0, done.output
    for said in ("selected, rank 1 by iig_mean", "pgd: steps 2", "as read back",
                 "from negative:", "offline: chosen, rejected", "advantage +0.7071"):  # fmt: skip
        assert said in done.output
    steps = {step for row in rows(root, "train", "train_groups") for step in row["steps"]}
    assert steps == {row["step"] for row in rows(root, "train", "train_steps")}
    done = mbpo("trace", "nothing", "--root", root)
    assert done.exit_code == 1 and "the nearest are:" in done.output
