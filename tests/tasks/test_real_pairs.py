"""Preference recipes over real photographs: regions and removal without weights of their own.

The policy is a tiny random model of the genuine class with the genuine tokenizer, so nothing here
says how well regions are found; every stage, size and table is real.
"""

import json

import pytest

from benchmarks.stages import run_inline
from mbpo_core.models.loading import save_policy
from mbpo_core.models.preprocessing import ImageConfig
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.recipes import configured
from tests.mbpo_core.tiny_models import build_model
from tests.pipelines import rows
from tests.tasks.test_gallery import pixels_of

SETTINGS = {
    "pair.held_out": 0,
    "ingest.max_pixels": 64 * 28 * 28,
    "score.answer_tokens": 4,
    "select.k": 5,
    "respond.min_mean_logp": -30,
    "train.max_steps": 3,
    "train.groups_per_step": 2,
    "train.micro_batch_groups": 2,
    "train.probe_groups": 1,
    "train.stream_norm_every": 0,
    "train.bf16": False,
    "answer.max_new_tokens": 4,
    "evaluate.benchmarks": [{"kind": "held_out", "closed": 2, "open": 2}],
}


def said(who, text):
    return [{"role": who, "content": text}]


def rlhf_v(number, image, question, chosen, rejected):
    pair = {"question": question, "chosen": chosen, "rejected": rejected}
    return {"idx": number, "image": image, "text": json.dumps(pair)}


def trl(number, image, question, chosen, rejected):
    answers = {"chosen": said("assistant", chosen), "rejected": said("assistant", rejected)}
    return {"id": str(number), "images": [image], "prompt": said("user", question)} | answers


def write_pairs(records, layout, path):
    """A caption or verdict against a wrong one: of the next photograph, or the other word."""
    captions = [r for r in records if r["kind"] == "caption"][:6]
    verdicts = [r for r in records if r["kind"] == "yesno"][:3]
    answers = [record["conversations"][1]["value"] for record in captions]
    wrong = answers[1:] + answers[:1]
    wrong += ["No" if r["conversations"][1]["value"] == "Yes" else "Yes" for r in verdicts]
    pairs = []
    for number, (record, rejected) in enumerate(zip(captions + verdicts, wrong, strict=True)):
        question, chosen = (turn["value"] for turn in record["conversations"])
        question = question.replace("<image>", "").strip()
        pairs.append(layout(number, record["image"], question, chosen, rejected))
    path.write_text(json.dumps(pairs))


def on(usual, other):
    """Run a test on one class always, and on the other one where slow tests run too."""
    return pytest.mark.parametrize(
        "policy", [usual, pytest.param(other, marks=pytest.mark.slow)], indirect=True
    )


@pytest.fixture(scope="module")
def policy(request, genuine_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy") / "model"
    model = build_model(request.param, genuine_tokenizer)
    model.config.text_config.max_position_embeddings = 4096
    save_policy(QwenVL(model, genuine_tokenizer, ImageConfig()), folder)
    return request.param, {"kind": "pretrained", "name": str(folder), "dtype": "float32"}


def pairs_run(name, layout, policy, shared_data, folder, **changes):
    """Run a recipe with its own defaults for miner and responses; return recipe and store."""
    kind, model = policy
    photos = shared_data / "real" / "coco_permissive"
    records = json.loads((photos / "llava_samples.json").read_text())
    write_pairs(records, layout, folder / "pairs.json")
    source = {"kind": "files", "path": str(folder / "pairs.json"), "image_root": str(photos)}
    given = {"policy": model, "scorer": model, "ingest.source": source}
    suffix = {"qwen2_vl": "-qwen2-vl-7b", "qwen2_5_vl": "-qwen2.5-vl-7b"}[kind]
    recipe = configured(name + suffix, given | SETTINGS | changes)
    run_inline(recipe, folder / "store")
    return recipe, folder / "store"


def check_pairs(recipe, root):
    """Imported texts are the rejected ones; both images and both texts stand in each group."""
    assert recipe.respond.sources == ("dataset",) and recipe.mine.finder.kind == "cells"
    samples = {row["sample_id"]: row for row in rows(root, "ingest", "samples")}
    assert len(samples) == 9 and all(row["rejected"] for row in samples.values())
    assert len({(row["height"], row["width"]) for row in samples.values()}) > 1
    groups = [row for row in rows(root, "pair", "groups")
              if row["reason"] is None and row["stream"] == "offline"]  # fmt: skip
    assert groups
    for group in groups:
        sample = samples[group["sample_id"]]
        texts = {one["role"]: one["text"] for one in group["candidates"]}
        assert texts == {
            "chosen": sample["response"],
            "rejected": sample["rejected"],
            "rejected_image": sample["response"],
        }
    predictions = rows(root, "evaluate", "predictions")
    used = {row["sample_id"] for row in groups}
    assert {row["kind"] for row in predictions} == {"open", "yes_no"}
    assert not used & {row["question_id"].removeprefix("held_out/") for row in predictions}


def altered(root):
    """(clean, negative, row) of every sample that has a negative image."""
    clean = {row["sample_id"]: row["image"] for row in rows(root, "ingest", "samples")}
    return [
        (pixels_of(clean[row["sample_id"]]), pixels_of(row["image"]), row)
        for row in rows(root, "mine", "negatives")
        if row["image"]
    ]


@on("qwen2_vl", "qwen2_5_vl")
def test_mfpo_noises_the_regions_of_real_phrases(policy, shared_data, tmp_path):
    recipe, root = pairs_run("mfpo", rlhf_v, policy, shared_data, tmp_path)
    check_pairs(recipe, root)
    regions = rows(root, "mine", "regions")
    said_by = {row["sample_id"]: row["response"].lower() for row in rows(root, "ingest", "samples")}
    assert {row["found"] for row in regions if row["used"]} == {True}
    assert all(row["phrase"].lower() in said_by[row["sample_id"]] for row in regions)
    shares = set()
    for clean, negative, row in altered(root):
        changed = (clean != negative).any(axis=2).mean()
        shares.add(row["scope"])
        assert clean.shape == negative.shape
        # Noise that rounds to nothing leaves a few pixels of a region as they were.
        assert 0.9 * row["area"] < changed <= row["area"] + 1e-9
        assert (row["area"] < 0.9) == (row["scope"] == "regions")
    assert "regions" in shares
    steps = rows(root, "train", "train_steps")
    assert all(row["loss_text"] and row["loss_image"] and row["loss_margin"] for row in steps)
    levels = {row["level"] for row in rows(root, "train", "train_groups") if row["uses"]}
    assert levels == {0, 1, 2}


@on("qwen2_5_vl", "qwen2_vl")
def test_adavip_removes_one_region_and_keeps_every_candidate(policy, shared_data, tmp_path):
    recipe, root = pairs_run("adavip", trl, policy, shared_data, tmp_path)
    check_pairs(recipe, root)
    assert (recipe.mine.inpainter.kind, recipe.mine.ranker.kind) == ("opencv", "policy")
    tried = {}
    for row in rows(root, "mine", "regions"):
        if row["image"]:
            tried.setdefault(row["sample_id"], []).append(row)
    assert max(len(candidates) for candidates in tried.values()) > 1
    for clean, negative, row in altered(root):
        candidates = tried[row["sample_id"]]
        winner = min(candidates, key=lambda one: one["image_score"])
        assert [one for one in candidates if one["used"]] == [winner]
        assert winner["image"]["bytes"] == row["image"]["bytes"]
        changed = (clean != negative).any(axis=2)
        assert changed.mean() == pytest.approx(row["area"])
        inside = changed[winner["top"] : winner["bottom"], winner["left"] : winner["right"]]
        # The mask is widened by two pixels, so a little may change around the box.
        assert inside.sum() > 0.8 * changed.sum()
    steps = rows(root, "train", "train_steps")
    assert all(row["weight_text"] + row["weight_image"] == pytest.approx(1) for row in steps)
