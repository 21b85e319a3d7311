import json
import random
import subprocess
import sys
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from mbpo_core.testbed.build import RECIPE, build, shortened
from mbpo_core.testbed.language import IMAGE_PAD, train_tokenizer
from mbpo_core.testbed.measure import Examinee
from mbpo_core.testbed.network import (
    TOKENS_PER_IMAGE,
    encode_images,
    image_grid,
    make_image_processor,
    make_model,
    to_patches,
    to_pixels,
)
from mbpo_core.testbed.packing import Packer, Turn, answer_logits
from mbpo_core.testbed.questions import QUESTION_KINDS, ask
from mbpo_core.testbed.scenes import draw, make_scene
from mbpo_core.testbed.training import Meter, Phase, learning_rate

SCENES = [make_scene("base", i, typical_share=0.5) for i in range(3)]
PHASE = Phase("any", 100, 1e-3, 0.5, {"color": 1.0}, warmup=10, final_share=0.1)


@cache
def world_model():
    torch.manual_seed(0)
    tokenizer = train_tokenizer()
    return tokenizer, make_model(tokenizer).eval()


def test_patches_are_those_of_the_image_processor():
    images = [draw(scene) for scene in SCENES]
    expected = make_image_processor()(images=images, return_tensors="pt")
    assert torch.equal(to_patches(to_pixels(images)).flatten(0, 1), expected.pixel_values)
    assert torch.equal(image_grid(len(images)), expected.image_grid_thw)


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="images must be 84x84, got \\(42, 84\\)"):
        to_pixels([draw(SCENES[0]).resize((42, 84))])


def test_batched_vision_equals_the_models_own():
    _, model = world_model()
    patches = to_patches(to_pixels([draw(scene) for scene in SCENES]))
    with torch.no_grad():
        own = model.model.get_image_features(patches.flatten(0, 1), image_grid(3)).pooler_output
        batched = encode_images(model, patches)
    torch.testing.assert_close(batched, torch.stack(list(own)), atol=1e-5, rtol=1e-5)


def test_packed_rows_equal_conversations_one_by_one():
    tokenizer, model = world_model()
    patches = to_patches(to_pixels([draw(scene) for scene in SCENES]))
    rng = random.Random(0)
    # Rows of different numbers of turns, so that some are padded.
    asked = [
        [ask(scene, kind, rng) for kind in QUESTION_KINDS[:n]]
        for scene, n in zip(SCENES, (7, 2, 4), strict=True)
    ]
    rows = Packer(tokenizer).pack([[Turn(q.text, q.answer) for q in row] for row in asked])
    with torch.no_grad():
        logits, targets = answer_logits(model, rows, encode_images(model, patches))
        packed = F.cross_entropy(logits, targets, reduction="none")
        expected = [
            one_by_one(model, tokenizer, question, patches[b])
            for b, row in enumerate(asked)
            for question in row
        ]
    assert rows.first.sum() == len(expected)
    torch.testing.assert_close(packed, torch.cat(expected), atol=1e-5, rtol=1e-5)


def one_by_one(model, tokenizer, question, patches):
    """Token losses of one conversation through the genuine forward."""
    content = [{"type": "image"}, {"type": "text", "text": question.text}]
    messages = [
        {"role": "user", "content": content},
        {"role": "assistant", "content": question.answer},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False).removesuffix("\n")
    ids = torch.tensor([tokenizer(text.replace(IMAGE_PAD, IMAGE_PAD * TOKENS_PER_IMAGE)).input_ids])
    logits = model(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == model.config.image_token_id).int(),
        pixel_values=patches,
        image_grid_thw=image_grid(1),
    ).logits[0]
    n = len(tokenizer(question.answer).input_ids) + 1
    return F.cross_entropy(logits[-n - 1 : -1], ids[0, -n:], reduction="none")


def test_learning_rate_rises_then_falls_to_its_share():
    rates = [learning_rate(PHASE, step) for step in range(PHASE.steps)]
    assert rates[0] == pytest.approx(PHASE.learning_rate / PHASE.warmup)
    assert max(rates) <= PHASE.learning_rate
    assert rates[PHASE.warmup :] == sorted(rates[PHASE.warmup :], reverse=True)
    assert rates[-1] == pytest.approx(PHASE.learning_rate * PHASE.final_share, rel=0.02)


def test_meter_counts_first_tokens_and_whole_answers():
    meter = Meter()
    first = torch.tensor([True, False, True, False, False, True])
    right = torch.tensor([True, True, True, False, True, False])
    meter.add(["color", "color", "count"], right, first)
    assert meter.flush() == {"color": [1.0, 0.5], "count": [0.0, 0.0]}
    assert meter.flush() == {}


def test_build_writes_a_loadable_folder_and_repeats_itself(tmp_path):
    recipe = shortened(RECIPE, 2)
    for name in ("a", "b"):
        build(tmp_path / name, recipe)
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("a", "b")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    head, *records = (tmp_path / "a" / "training_log.jsonl").read_text().splitlines()
    assert json.loads(head)["recipe"]["seed"] == recipe.seed
    assert json.loads(records[-1])["phase"] == recipe.phases[-1].name
    item = (SCENES[0], ask(SCENES[0], "color", random.Random(0)))
    assert len(Examinee(tmp_path / "a").answer([item])) == 1
    with pytest.raises(FileExistsError, match="holds a model already"):
        build(tmp_path / "a", recipe)


@pytest.mark.slow
def test_build_and_measure_as_commands(tmp_path):
    folder = str(tmp_path / "model")
    for command in (
        ["mbpo_core.testbed.build", "--output", folder, "--steps", "30", "--threads", "1"],
        ["mbpo_core.testbed.measure", "--model", folder, "--scenes", "10", "--pool-scenes", "5"],
    ):
        subprocess.run([sys.executable, "-m", *command], check=True, timeout=500)
    measured = json.loads((tmp_path / "model" / "measurement.json").read_text())
    assert measured["splits"]["test"]["counter"]["accuracy"]["color"]["n"] == 10
