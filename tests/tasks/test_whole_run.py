"""The whole pipeline on the embedded world, with real worker processes."""

import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import torch
from PIL import Image

from mbpo_core.evaluation.metrics import FAILURES
from mbpo_core.models.loading import load_policy
from storage.catalog import query
from storage.store import ArtifactStore
from tasks.models import EMBEDDED
from tasks.pipeline import Choice, MissingUpstreamError, run_pipeline
from tasks.plan import plan
from tasks.pool import ShardFailedError, WorkerPool
from tasks.registry import ORDER, STAGES
from tests.pipelines import rows, run, runtime, small_recipe


def test_every_stage_makes_its_artifact_and_every_row_says_what_became_of_it(finished):
    root, _, made = finished
    assert tuple(made) == ORDER and not any(each.hit for each in made.values())
    store = ArtifactStore(root)
    names = {stage: store.manifest(each.ref).artifact for stage, each in made.items()}
    assert names == {
        "ingest": "samples", "score": "scores", "select": "selection", "mine": "negatives",
        "respond": "responses", "pair": "groups", "train": "checkpoint", "ask": "questions",
        "answer": "answers", "evaluate": "metrics", "report": "page",
    }  # fmt: skip
    chosen = [row for row in rows(root, "select", "selection") if row["chosen"]]
    assert len(chosen) == 8
    assert all(row["chosen"] or row["reason"] for row in rows(root, "select", "selection"))
    assert {row["sample_id"] for row in rows(root, "mine", "negatives")} == {
        row["sample_id"] for row in chosen
    }


def test_scores_are_differences_of_the_stored_log_probabilities(finished):
    root, _, _ = finished
    for row in rows(root, "score", "scores"):
        gain = math.fsum(row["token_logps"]) - math.fsum(row["blank_token_logps"])
        assert row["iig_sum"] == pytest.approx(gain, abs=1e-5)
        assert row["iig_mean"] == pytest.approx(row["iig_sum"] / row["n_tokens"])
        assert len(row["token_logps"]) == len(row["blank_token_logps"]) == row["n_tokens"]


def test_attacked_images_are_read_back_as_they_were_attacked(finished):
    root, recipe, _ = finished
    mined = rows(root, "mine", "negatives")
    assert mined and all(row["reason"] is None for row in mined)
    for row in mined:
        assert row["logp_reread"] == pytest.approx(row["logp_negative"], abs=1e-5)
        assert len(row["logp_trace"]) == recipe.mine.steps + 1
        assert row["linf"] <= recipe.mine.epsilon + 1e-9
        assert row["logp_clean"] == row["logp_trace"][0]
    drops = [row["logp_clean"] - row["logp_reread"] for row in mined]
    assert sum(drops) > 0


def test_rejected_responses_are_scored_under_the_clean_image_and_remember_the_negative(finished):
    root, _, _ = finished
    negatives = {row["negative_id"] for row in rows(root, "mine", "negatives")}
    pairs = [row for row in rows(root, "pair", "groups")
             if row["stream"] == "offline" and row["reason"] is None]  # fmt: skip
    assert pairs
    for row in pairs:
        by_role = {candidate["role"]: candidate for candidate in row["candidates"]}
        chosen, rejected = by_role["chosen"], by_role["rejected"]
        assert by_role["rejected_image"]["image_id"] == rejected["generated_from"]
        assert chosen["image_id"] == rejected["image_id"] == row["image_id"]
        assert rejected["generated_from"] in negatives and chosen["generated_from"] is None
        assert rejected["token_ids"] and rejected["text"] != chosen["text"]


def test_training_leaves_queryable_tables_and_a_model_that_loads(finished):
    root, _, made = finished
    steps = rows(root, "train", "train_steps")
    assert [row["step"] for row in steps] == [1, 2]
    assert all(math.isfinite(row["loss"]) for row in steps)
    assert any(row["groups_online"] for row in steps)
    probes = rows(root, "train", "train_probes")
    assert {row["role"] for row in probes} == {"chosen", "rejected"}
    assert {row["step"] for row in probes} == {0, 1, 2}
    rollouts = rows(root, "train", "train_rollouts")
    assert {row["reward"] for row in rollouts} <= {0.0, 1.0} and rollouts
    assert all(row["uses"] or row["reason"] for row in rows(root, "train", "train_groups"))
    folder = ArtifactStore(root).files(made["train"].ref) / "model"
    trained = load_policy(str(folder)).model.state_dict()
    base = load_policy(str(EMBEDDED)).model.state_dict()
    assert any(not torch.equal(trained[name], base[name]) for name in base)


def test_metrics_have_n_and_an_interval_for_both_models(finished):
    root, _, _ = finished
    metrics = rows(root, "evaluate", "metrics")
    assert {row["model"] for row in metrics} == {"base", "trained"}
    assert {row["benchmark"] for row in metrics} == {"embedded/consistent", "embedded/counter"}
    assert {"accuracy", "chair_i", "chair_s", "iig_mean", "yes_rate", *FAILURES} == {
        row["metric"] for row in metrics
    }
    for row in metrics:
        assert row["n"] > 0
        assert row["value"] is None or row["low"] <= row["value"] <= row["high"]


def test_a_second_run_is_all_hits_and_starts_no_worker(finished, monkeypatch):
    root, recipe, first = finished
    monkeypatch.setattr(WorkerPool, "run", lambda *_: pytest.fail("a worker was asked"))
    again = run(recipe, runtime(root))
    assert all(each.hit for each in again.values())
    assert {s: each.ref for s, each in again.items()} == {s: e.ref for s, e in first.items()}
    assert [step.state for step in plan(recipe, runtime(root))] == ["hit"] * len(ORDER)


def test_one_worker_and_four_give_the_same_bytes(finished, tmp_path):
    _, recipe, one = finished
    four = run(recipe, runtime(tmp_path / "four", workers=4))
    assert {s: each.ref for s, each in four.items()} == {s: each.ref for s, each in one.items()}


def test_datasets_opens_every_table_with_rows_and_decodes_the_images(finished, tmp_path):
    root, _, made = finished
    store = ArtifactStore(root)
    for stage, each in made.items():
        for table in store.manifest(each.ref).tables:
            if not store.table(each.ref, table).num_rows:
                continue  # `datasets` opens no Parquet file without rows
            parts = [str(part.path) for part in store.parts(each.ref, table)]
            loaded = datasets.load_dataset(
                "parquet", data_files=parts, split="train", cache_dir=str(tmp_path)
            )
            assert loaded.num_rows == store.table(each.ref, table).num_rows
            if "image" in loaded.column_names:
                assert isinstance(loaded[0]["image"], Image.Image), (stage, table)


def test_another_process_joins_the_catalogue_while_the_pipeline_runs(finished, tmp_path):
    """Plain duckdb, read-only, again and again; neither it nor the pipeline waits or fails."""
    root, recipe, _ = finished
    copy = tmp_path / "store"
    shutil.copytree(root, copy)
    code = """
import sys, time, duckdb
seen = set()
for line in range(10_000):
    with duckdb.connect(sys.argv[1], read_only=True) as catalog:
        seen.add(catalog.execute('''
            select count(*) from samples join scores using (sample_id)
            join selection using (sample_id) join negatives using (sample_id)
        ''').fetchone()[0])
    print(len(seen), max(seen), flush=True)
    time.sleep(0.02)
"""
    run(recipe, runtime(copy), Choice(only=("select",)))  # views of this copy's own paths
    reader = subprocess.Popen(
        [sys.executable, "-c", code, str(copy / "catalog.duckdb")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert reader.stdout.readline().split()[1] == "8"
        changed = small_recipe(mine__steps=1)
        made = run(changed, runtime(copy), Choice(start="mine"))
        assert not made["mine"].hit
        assert reader.poll() is None, reader.stderr.read()
    finally:
        reader.kill()
        lines = reader.communicate()[0].splitlines()
    assert len(lines) > 20, "the reader was held up"


def test_a_failed_stage_goes_on_at_its_missing_shards(tmp_path):
    recipe, root = small_recipe(), tmp_path / "store"
    failing = runtime(root, fail="mine/1", retries=0)
    with pytest.raises(ShardFailedError, match="mine/1 fails because the runtime asks"):
        run(recipe, failing)
    steps = {step.stage: step for step in plan(recipe, runtime(root))}
    assert steps["select"].state == "hit" and steps["mine"].state == "miss"
    assert "2 shards of an earlier run are there" in steps["mine"].why
    assert query(root, "select status from runs").fetchall() == [("failed",)]
    alone = run(recipe, runtime(root), Choice(only=("mine",)))
    assert alone["mine"].computed == (1,)
    assert run(recipe, runtime(root), Choice(only=("mine", "respond")))["mine"].hit


def test_a_worker_killed_in_the_midst_costs_a_retry_and_no_byte(finished, tmp_path):
    root, _, _ = finished
    copy, recipe = tmp_path / "store", small_recipe(mine__steps=1)
    shutil.copytree(root, copy)
    how, killed = runtime(copy), []
    with WorkerPool(how) as pool:

        def kill(stage, done, planned):
            if stage == "mine" and done == 1 and not killed:
                killed.append(pool.workers[0].process.pid)
                os.kill(killed[0], signal.SIGKILL)

        broken = run_pipeline(recipe, how, Choice(only=("mine",)), pool, progress=kill)
    assert killed and broken["mine"].computed == (0, 1, 2)
    undisturbed = run(recipe, how, Choice(only=("mine",), refresh=("mine",)))
    assert undisturbed["mine"].ref == broken["mine"].ref


def test_refresh_computes_again_and_equal_bytes_leave_what_follows_alone(finished):
    root, recipe, first = finished
    again = run(recipe, runtime(root), Choice(refresh=("mine",)))
    assert not again["mine"].hit and again["mine"].ref == first["mine"].ref
    assert all(each.hit for stage, each in again.items() if stage != "mine")


def test_a_changed_setting_is_a_miss_that_says_why_and_only_later_stages_depend_on_it(finished):
    root, _, _ = finished
    steps = {s.stage: s for s in plan(small_recipe(mine__steps=3), runtime(root))}
    assert [steps[stage].state for stage in ORDER] == [
        "hit", "hit", "hit", "miss", "depends on a miss", "depends on a miss",
        "depends on a miss", "hit", "depends on a miss", "depends on a miss",
        "depends on a miss",
    ]  # fmt: skip
    assert steps["mine"].why == ("config.mine.steps: 2 -> 3",)
    assert steps["mine"].rows == 8 and steps["mine"].cost.basis == "measured"


def test_a_stage_alone_names_what_it_misses_and_the_command_that_makes_it(tmp_path):
    with pytest.raises(MissingUpstreamError, match=r"ingest/.*mbpo stage ingest --recipe mbpo"):
        run(small_recipe(), runtime(tmp_path), Choice(only=("mine",)))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"only": ("mien",)}, "unknown stage 'mien'"),
        ({"only": ("mine",), "start": "mine"}, "not both"),
        ({"only": ("mine",), "refresh": ("train",)}, "'train', which this run does not compute"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(choice, message):
    with pytest.raises(ValueError, match=message):
        Choice(**choice)


def test_every_declared_table_is_in_the_catalogue(finished):
    root, _, _ = finished
    run(finished[1], runtime(root))
    for stage in STAGES.values():
        for spec in stage.tables:
            names = [c[0] for c in query(root, f"select * from {spec.name} limit 0").description]
            assert names == spec.schema.names


def test_adapters_are_stored_and_the_merged_model_is_what_is_evaluated(finished, tmp_path):
    root, _, _ = finished
    copy = tmp_path / "store"
    shutil.copytree(root, copy)
    recipe = small_recipe(train__lora={"rank": 4, "alpha": 8}, train__learning_rate=1e-2)
    made = run(recipe, runtime(copy), Choice(start="train"))
    folder = ArtifactStore(copy).files(made["train"].ref)
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    merged = load_policy(str(folder / "model")).model.state_dict()
    base = load_policy(str(EMBEDDED)).model.state_dict()
    changed = {name for name in base if not torch.equal(merged[name], base[name])}
    assert changed and all("language_model" in name for name in changed)
    assert {row["model"] for row in rows(copy, "evaluate", "metrics")} == {"base", "trained"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_training_runs_under_a_launcher_with_two_ranks(finished, tmp_path, kind):
    """As on several GPUs: the steps are those of one rank, up to the order of sums."""
    root, _, _ = finished
    copy = tmp_path / "store"
    shutil.copytree(root, copy)
    config = Path(__file__).parents[2] / "deployments" / "accelerate" / f"{kind}.yaml"
    launcher = ("accelerate", "launch", "--config_file", str(config), "--num_processes", "2")
    one = rows(copy, "train", "train_steps")
    norms = 1 if kind == "ddp" else 0
    halves = small_recipe(train__micro_batch_groups=2, train__stream_norm_every=norms)
    made = run(halves, runtime(copy, train_launcher=launcher), Choice(only=("train",)))
    assert ArtifactStore(copy).manifest(made["train"].ref).shards[0]["ranks"] == 2
    two = rows(copy, "train", "train_steps")
    for a, b in zip(one, two, strict=True):
        assert (a["groups_offline"], a["groups_online"]) == (
            b["groups_offline"],
            b["groups_online"],
        )
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
