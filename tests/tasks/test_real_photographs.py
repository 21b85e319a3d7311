"""All stages over real photographs, with the genuine tokenizer and both genuine classes."""

import json

import pytest

from mbpo_core.models.loading import save_policy
from mbpo_core.models.preprocessing import ImageConfig
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.recipes import configured
from tasks.registry import ORDER
from tests.mbpo_core.tiny_models import build_model
from tests.pipelines import rows, run, runtime
from tests.tasks.reopened import compare_reopened, exported

SETTINGS = {
    "ingest.max_pixels": 128 * 28 * 28,
    "ingest.shard_rows": 30,
    "select.presample": 20,
    "select.k": 4,
    "mine.steps": 2,
    "respond.max_new_tokens": 6,
    "respond.min_mean_logp": -30,
    "pair.held_out": 6,
    "pair.max_online": 4,
    "train.max_steps": 2,
    "train.groups_per_step": 4,
    "train.micro_batch_groups": 2,
    "train.objective.generations": 2,
    "train.objective.max_new_tokens": 4,
    "train.probe_groups": 2,
    "train.probe_every": 1,
    "train.bf16": False,
    "answer.max_new_tokens": 6,
    "evaluate.benchmarks": [{"kind": "held_out", "closed": 6, "open": 4}],
}


def recipe(kind, tokenizer, shared_data, folder, per_kind=None):
    model = build_model(kind, tokenizer)
    model.config.text_config.max_position_embeddings = 4096
    save_policy(QwenVL(model, tokenizer, ImageConfig()), folder)
    photos = shared_data / "real" / "coco_permissive"
    described = {"kind": "pretrained", "name": str(folder), "dtype": "float32"}
    path = photos / "llava_samples.json"
    if per_kind is not None:
        records = json.loads(path.read_text())
        kinds = {record["kind"] for record in records}
        few = [[r for r in records if r["kind"] == kind][:per_kind] for kind in sorted(kinds)]
        path = folder.parent / "few.json"
        path.write_text(json.dumps([record for part in few for record in part]))
    source = {"kind": "files", "path": str(path), "image_root": str(photos)}
    models = {"scorer": described, "policy": described, "ingest.source": source}
    return configured("mbpo-qwen2-vl-7b", models | SETTINGS)


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl"])
def test_every_stage_runs_over_real_photographs(kind, genuine_tokenizer, shared_data, tmp_path):
    what = recipe(kind, genuine_tokenizer, shared_data, tmp_path / "model", per_kind=12)
    made = run(what, runtime(tmp_path / "store", workers=2))
    assert tuple(made) == ORDER
    check(tmp_path / "store", 36)
    exported(tmp_path / "store", tmp_path / "exported")
    assert compare_reopened(tmp_path / "store", tmp_path / "exported").config.model_type == kind


@pytest.mark.slow
def test_all_535_samples_go_through(genuine_tokenizer, shared_data, tmp_path):
    what = recipe("qwen2_vl", genuine_tokenizer, shared_data, tmp_path / "model")
    run(what, runtime(tmp_path / "store", workers=2))
    check(tmp_path / "store", 535)


def check(root, count):
    samples = rows(root, "ingest", "samples")
    assert len(samples) == count and all(row["reason"] is None for row in samples)
    assert len({(row["height"], row["width"]) for row in samples}) > 3, "one size only"
    assert {row["closed_kind"] for row in samples} == {None, "yes_no", "multiple_choice"}
    assert all(row["iig_mean"] is not None for row in rows(root, "score", "scores"))
    mined = rows(root, "mine", "negatives")
    assert len(mined) == 4
    for row in mined:
        assert row["logp_reread"] == pytest.approx(row["logp_negative"], abs=1e-4)
    assert len(rows(root, "respond", "responses")) == 4
    assert len(rows(root, "train", "train_steps")) == 2
    kinds = {row["kind"] for row in rows(root, "evaluate", "predictions")}
    assert kinds == {"open", "yes_no", "multiple_choice"}
