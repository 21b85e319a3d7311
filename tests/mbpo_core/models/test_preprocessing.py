import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from mbpo_core.models.preprocessing import (
    ImageConfig,
    blank_like,
    blanks,
    mrope_positions,
    patchify,
    to_unit,
    to_units,
    unpatchify,
)
from tests.mbpo_core.tiny_models import build_model, random_image

CONFIG = ImageConfig()
sides = st.integers(1, 6).map(lambda k: 28 * k)


def processed(image):
    processor = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 28 * 28, "longest_edge": CONFIG.max_pixels}
    )
    found = processor(images=[image.permute(1, 2, 0).numpy()], return_tensors="pt")
    return found["pixel_values"], tuple(found["image_grid_thw"][0].tolist())


def test_unit_pixels_equal_the_processors_rescaling_for_every_grey_level():
    levels = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    expected = (np.arange(256).astype(np.float64) * (1 / 255)).astype(np.float32)
    assert np.array_equal(to_unit(levels)[0, 0].numpy(), expected)


@settings(max_examples=25, deadline=None)
@given(sides, sides, st.integers(0, 2**31))
def test_patchify_is_bit_exact_with_the_transformers_processor(height, width, seed):
    image = random_image(seed, height, width)
    pixels, grid = processed(image)
    assert torch.equal(patchify(to_unit(image), CONFIG), pixels)
    assert CONFIG.grid(height, width) == grid


@settings(max_examples=25, deadline=None)
@given(sides, sides, st.integers(0, 2**31))
def test_unpatchify_is_the_inverse(height, width, seed):
    image = to_unit(random_image(seed, height, width))
    again = unpatchify(patchify(image, CONFIG), height, width, CONFIG)
    torch.testing.assert_close(again, image, rtol=0, atol=2e-7)


def test_gradient_of_a_pixel_sums_over_its_temporal_copies():
    image = to_unit(random_image(0)).requires_grad_()
    patchify(image, CONFIG).sum().backward()
    expected = CONFIG.temporal_patch_size / torch.tensor(CONFIG.image_std)
    torch.testing.assert_close(image.grad[:, 0, 0], expected)
    assert (image.grad == image.grad[:, :1, :1]).all()


def test_blank_image_is_black_before_normalisation():
    image = random_image(0)
    assert torch.equal(patchify(to_unit(blank_like(image)), CONFIG), processed(image * 0)[0])
    first = patchify(to_unit(blank_like(image)), CONFIG)[0].reshape(3, -1)[:, 0]
    expected = -torch.tensor(CONFIG.image_mean) / torch.tensor(CONFIG.image_std)
    torch.testing.assert_close(first, expected)


def test_blanks_share_one_tensor_per_size_and_units_one_per_object():
    small, large = random_image(0, 28, 28), random_image(1, 56, 28)
    first, second, third = blanks([small, large, small.clone()])
    assert first is third
    assert second.shape == large.shape
    one, two, three = to_units([small, large, small])
    assert one is three
    assert one is not two


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(3, 30, 28), "multiples of 28, got 30 x 28"),
        (torch.zeros(3, 28, 28, dtype=torch.uint8), "float"),
        (torch.zeros(1, 28, 28), "3, H, W"),
    ],
)
def test_refuses_images_that_it_would_have_to_change(image, message):
    with pytest.raises(ValueError, match=message):
        patchify(image, CONFIG)


def test_stored_images_are_uint8():
    with pytest.raises(ValueError, match=r"uint8 \[3, H, W\]"):
        to_unit(torch.zeros(3, 28, 28))


@settings(max_examples=50, deadline=None)
@given(st.integers(20, 3000), st.integers(20, 3000))
def test_target_size_is_a_fixed_point_inside_the_window(height, width):
    size = CONFIG.target_size(height, width)
    assert CONFIG.target_size(*size) == size
    assert CONFIG.min_pixels <= size[0] * size[1] <= CONFIG.max_pixels


def test_config_round_trips_and_understands_both_spellings(tmp_path):
    config = ImageConfig(min_pixels=784, max_pixels=78400, image_mean=(0.1, 0.2, 0.3))
    config.save(tmp_path)
    assert ImageConfig.from_folder(tmp_path) == config
    sizes = {"size": {"shortest_edge": 784, "longest_edge": 78400}, "image_mean": [0.1, 0.2, 0.3]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(sizes))
    assert ImageConfig.from_folder(tmp_path) == config
    with pytest.raises(FileNotFoundError, match=r"preprocessor_config\.json not found"):
        ImageConfig.from_folder(tmp_path / "none")


def test_saved_config_makes_the_processor_of_transformers_agree(tmp_path):
    CONFIG.save(tmp_path)
    image = random_image(3, 84, 112)
    processor = Qwen2VLImageProcessorPil.from_pretrained(tmp_path)
    found = processor(images=[image.permute(1, 2, 0).numpy()], return_tensors="pt")
    assert torch.equal(found["pixel_values"], patchify(to_unit(image), CONFIG))


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl"])
def test_positions_equal_get_rope_index(kind, tiny_tokenizer):
    model = build_model(kind, tiny_tokenizer).model
    pad = model.config.image_token_id
    for before, gh, gw, after in [(3, 2, 2, 5), (0, 4, 10, 2), (7, 12, 2, 0), (15, 6, 6, 40)]:
        ids = [1] * before + [pad] * (gh * gw // 4) + [2] * after
        grid = torch.tensor([[1, gh, gw]])
        row = torch.tensor([ids])
        expected, _ = model.get_rope_index(row, (row == pad).int(), image_grid_thw=grid)
        assert torch.equal(mrope_positions(ids, pad, (1, gh, gw), 2), expected[:, 0])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 2], "no image tokens"),
        ([9, 1], "run of 2 image tokens, the prompt has 1"),
        ([9, 1, 9], "run of 2 image tokens, the prompt has 2"),
        ([9, 9, 9], "run of 2 image tokens, the prompt has 3"),
    ],
)
def test_refuses_image_tokens_that_do_not_fit(ids, message):
    with pytest.raises(ValueError, match=message):
        mrope_positions(ids, 9, (1, 2, 4), 2)
