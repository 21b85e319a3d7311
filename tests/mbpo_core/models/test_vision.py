import pytest
import torch

from mbpo_core.models.preprocessing import patchify, to_unit
from mbpo_core.models.qwen_vl import unwrapped
from tests.mbpo_core.tiny_models import random_image

SIZES = [(56, 84), (28, 28), (140, 252)]


def black(height, width):
    return torch.zeros(3, height, width)


def by_transformers(policy, image):
    """Visual tokens without anything of ours but the patches."""
    grid = torch.tensor([policy.grid(*image.shape[1:])])
    pixels = patchify(image, policy.image_config)
    (tokens,) = unwrapped(policy.model).get_image_features(pixels, grid).pooler_output
    return tokens


@pytest.fixture
def patches(tiny_policy):
    """Patches that the vision tower reads, call by call."""
    seen = []
    hook = unwrapped(tiny_policy.model).model.visual.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args[0].shape[0]), with_kwargs=True
    )
    yield seen
    hook.remove()


@pytest.mark.parametrize("size", SIZES)
def test_a_blank_image_is_one_vector_at_every_token(tiny_policy, size):
    tokens = by_transformers(tiny_policy, black(*size))
    expected = by_transformers(tiny_policy, black(28, 28)).expand_as(tokens)
    torch.testing.assert_close(tokens, expected, rtol=0, atol=1e-5)
    other = by_transformers(tiny_policy, to_unit(random_image(0, *size)))
    assert size == (28, 28) or (other - other[:1]).abs().max() > 1e-2


def test_encodes_as_transformers_does(tiny_policy):
    images = [to_unit(random_image(i, *size)) for i, size in enumerate(SIZES)]
    images = [images[0], black(*SIZES[2]), images[1], images[0], black(*SIZES[0]), images[2]]
    for image, tokens in zip(images, tiny_policy.encode_images(images), strict=True):
        expected = by_transformers(tiny_policy, image)
        torch.testing.assert_close(tokens, expected, rtol=0, atol=1e-5)


def test_after_one_comparison_a_blank_image_costs_four_patches(tiny_policy, patches):
    tiny_policy.encode_images([black(140, 252)])
    assert patches == [180, 4, 4]
    tiny_policy.encode_images([black(140, 252), black(56, 84)])
    assert patches[3:] == [4]


def test_a_tower_that_knows_places_encodes_blank_images_in_full(tiny_policy, patches, caplog):
    visual = unwrapped(tiny_policy.model).model.visual

    def add_places(module, args, output):
        places = torch.arange(len(output.pooler_output), dtype=torch.float32)
        output.pooler_output = output.pooler_output + places[:, None]
        return output

    hook = visual.register_forward_hook(add_places)
    (tokens,) = tiny_policy.encode_images([black(56, 84)])
    expected = by_transformers(tiny_policy, black(56, 84))
    hook.remove()
    assert patches[2] == 24
    torch.testing.assert_close(tokens, expected)
    assert "every blank image is encoded in full" in caplog.text


def test_a_blank_image_of_one_token_decides_nothing(tiny_policy, patches):
    tiny_policy.encode_images([black(28, 28)])
    assert patches == [4]
    tiny_policy.encode_images([black(28, 28), black(140, 252)])
    assert patches == [4, 180, 4, 4]


def test_gradients_of_the_tower_from_a_blank_image(tiny_policy):
    parameters = list(unwrapped(tiny_policy.model).model.visual.parameters())

    def gradients(tokens):
        return torch.autograd.grad(tokens.square().sum(), parameters, allow_unused=True)

    (tokens,) = tiny_policy.encode_images([black(56, 84)])
    for one, other in zip(
        gradients(tokens), gradients(by_transformers(tiny_policy, black(56, 84))), strict=True
    ):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


class TestMemory:
    def test_an_image_is_encoded_once_until_it_is_forgotten(self, tiny_policy, patches):
        image = to_unit(random_image(0))
        with torch.no_grad():
            (first,) = tiny_policy.encode_images([image])
            assert tiny_policy.encode_images([image])[0] is not first
            with tiny_policy.images.remembering():
                (kept,) = tiny_policy.encode_images([image])
                assert tiny_policy.encode_images([image])[0] is kept
                assert len(patches) == 3
                tiny_policy.images.forget()
                again = tiny_policy.encode_images([image])[0]
            assert again is not kept and len(patches) == 4
            assert tiny_policy.encode_images([image])[0] is not again
        torch.testing.assert_close(first, again)

    def test_nothing_with_a_gradient_is_kept(self, tiny_policy, patches):
        image = to_unit(random_image(0)).requires_grad_()
        fixed = image.detach()
        with tiny_policy.images.remembering():
            for _ in range(2):
                tiny_policy.encode_images([image])
                tiny_policy.encode_images([fixed])  # its tower is trained
        assert len(patches) == 4
