"""Images, positions and scores against transformers, and rows against their neighbours."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from mbpo_core.data.images import ImagePolicy, PreparedImage, encode_png, prepare_image
from mbpo_core.evaluation import embedded
from mbpo_core.mining.png import decode_png
from mbpo_core.models.preprocessing import (
    ImageConfig,
    blank_like,
    mrope_positions,
    patchify,
    to_unit,
    unpatchify,
)
from tests.mbpo_core.exact.columns import columns, transformers_inputs
from tests.mbpo_core.exact.conftest import EMBEDDED
from tests.mbpo_core.tiny_models import random_image

TOLERANCE = {"rtol": 0, "atol": 1e-5}
CONFIG = ImageConfig(min_pixels=4 * 784, max_pixels=64 * 784)
STORAGE = ImagePolicy(
    factor=28, min_pixels=4 * 784, max_pixels=64 * 784, max_source_pixels=1_000_000
)
sides = st.integers(1, 6).map(lambda count: 28 * count)


@settings(max_examples=25, deadline=None)
@given(st.integers(10, 400), st.integers(10, 400), st.integers(0, 2**31))
def test_resized_stored_and_cut_it_is_what_the_processor_makes_of_the_raw_picture(h, w, seed):
    """The whole way of a picture of any size, by the installed processor and by our parts."""
    raw = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    processor = Qwen2VLImageProcessorPil(
        size={"shortest_edge": CONFIG.min_pixels, "longest_edge": CONFIG.max_pixels}
    )
    expected = processor(images=[Image.fromarray(raw)], return_tensors="pt")
    stored = prepare_image(encode_png(raw), STORAGE)
    assert isinstance(stored, PreparedImage), stored
    image = decode_png(stored.png)
    assert torch.equal(patchify(to_unit(image), CONFIG), expected["pixel_values"])
    assert [list(CONFIG.grid(*image.shape[1:]))] == expected["image_grid_thw"].tolist()


@settings(max_examples=25, deadline=None)
@given(sides, sides, st.integers(0, 2**31))
def test_patches_give_back_every_grey_level(height, width, seed):
    image = random_image(seed, height, width)
    again = unpatchify(patchify(to_unit(image), CONFIG), height, width, CONFIG)
    assert torch.equal((again * 255).round().to(torch.uint8), image)


def test_a_scene_of_the_embedded_world_is_seen_as_its_processor_sees_it():
    processor = Qwen2VLImageProcessorPil.from_pretrained(EMBEDDED)
    config = ImageConfig.from_folder(EMBEDDED)
    for item in embedded.load("test", "counter", 2).questions[::7]:
        image = decode_png(item.image)
        for picture in (image, blank_like(image)):
            found = processor(images=[picture.permute(1, 2, 0).numpy()], return_tensors="pt")
            assert torch.equal(patchify(to_unit(picture), config), found["pixel_values"])


@pytest.mark.parametrize("side", ["left", "right"])
def test_positions_of_whole_rows_are_those_of_get_rope_index(policy, rows, side):
    inputs = transformers_inputs(policy, rows, side)
    expected, _ = policy.model.model.get_rope_index(
        inputs["input_ids"],
        inputs["mm_token_type_ids"],
        image_grid_thw=inputs["image_grid_thw"],
        attention_mask=inputs["attention_mask"],
    )
    for index, row in enumerate(rows):
        ids = row.prompt + row.response
        grid = policy.grid(*row.image.shape[1:])
        found = mrope_positions(ids, policy.image_token_id, grid, 2)
        assert torch.equal(found, expected[:, index, inputs["attention_mask"][index].bool()])


@pytest.mark.parametrize(
    ("kind", "side"),
    [("qwen2_vl", "right"), ("qwen2_5_vl", "right"), ("embedded", "right"), ("embedded", "left")],
)
def test_a_padded_batch_of_transformers_scores_the_same(policy, rows, side):
    inputs = transformers_inputs(policy, rows, side)
    with torch.no_grad():
        logits = policy.model(**inputs).logits
        found = policy.token_logps(*columns(rows))
    for index, row in enumerate(rows):
        real = logits[index, inputs["attention_mask"][index].bool()]
        before = real[len(row.prompt) - 1 : -1].log_softmax(-1)
        expected = before.gather(-1, torch.tensor(row.response)[:, None])[:, 0]
        torch.testing.assert_close(found[index], expected, **TOLERANCE)


@pytest.mark.parametrize("kind", ["embedded"])
def test_the_sum_is_minus_the_loss_of_transformers_times_the_length(policy, rows):
    for row, logps in zip(rows, policy.token_logps(*columns(rows)), strict=True):
        inputs = transformers_inputs(policy, [row], "left")
        labels = inputs["input_ids"].clone()
        labels[:, : len(row.prompt)] = -100
        loss = policy.model(**inputs, labels=labels).loss
        torch.testing.assert_close(logps.sum(), -loss * len(row.response), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["embedded"])
def test_batch_equals_single(policy, rows):
    together = policy.token_logps(*columns(rows))
    for row, logps in zip(rows, together, strict=True):
        (alone,) = policy.token_logps(*columns([row]))
        torch.testing.assert_close(logps, alone, **TOLERANCE)


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_leak_canary_of_scores_and_gradients(policy, rows, changed):
    """A neighbour that is replaced, at the same length, moves no bit of the others."""
    other = dataclasses.replace(
        rows[changed],
        image=255 - rows[changed].image,
        response=[rows[changed].response[0]] * len(rows[changed].response),
    )
    mixed = [other if index == changed else row for index, row in enumerate(rows)]

    def scores_and_gradients(batch):
        prompts, responses, images = columns(batch)
        points = [image.clone().requires_grad_() for image in images]
        logps = policy.token_logps(prompts, responses, points)
        return logps, torch.autograd.grad(torch.cat(logps).sum(), points)

    before, before_gradients = scores_and_gradients(rows)
    after, after_gradients = scores_and_gradients(mixed)
    for index in range(len(rows)):
        same = torch.equal(before[index], after[index])
        same_gradient = torch.equal(before_gradients[index], after_gradients[index])
        assert (same, same_gradient) == ((False, False) if index == changed else (True, True))


def test_a_row_has_no_gradient_of_anothers_image(policy, rows):
    """What row 0 scores does not depend on any other picture of the batch."""
    prompts, responses, images = columns(rows)
    points = [image.clone().requires_grad_() for image in images]
    first = policy.token_logps(prompts, responses, points)[0].sum()
    own, *others = torch.autograd.grad(first, points, allow_unused=True, materialize_grads=True)
    assert own.abs().max() > 0
    assert all((gradient == 0).all() for gradient in others)
