"""What every miner without gradients keeps to."""

import pytest
import torch

from mbpo_core.mining.blank import Blank
from mbpo_core.mining.crop import Crop
from mbpo_core.mining.noise import DiffusionNoise, UniformNoise
from mbpo_core.mining.protocol import Region
from mbpo_core.mining.region_noise import RegionNoise
from tests.mbpo_core.mining.mine_items import mine_item, mine_items
from tests.mbpo_core.tiny_models import random_image


def corner(items, phrases):
    found = []
    for item, own in zip(items, phrases, strict=True):
        mask = torch.zeros(item.image.shape[1:], dtype=torch.bool)
        mask[:30, :30] = True
        found.append([Region(phrase, mask) for phrase in own])
    return found


def everything_said(text):
    return [(text, 1.0)]


SEEDED = {
    "diffusion": lambda seed: DiffusionNoise(run_seed=seed),
    "diffusion-900": lambda seed: DiffusionNoise(run_seed=seed, t=900),
    "random-20": lambda seed: DiffusionNoise(run_seed=seed, scope="random"),
    "regions": lambda seed: RegionNoise(finder=corner, keywords=everything_said, run_seed=seed),
    "uniform": lambda seed: UniformNoise(run_seed=seed),
    "crop": lambda seed: Crop(run_seed=seed),
}
ALL = SEEDED | {"blank": lambda seed: Blank()}


def images(miner, items):
    return [altered.image for altered in miner(items)]


def same(some, others):
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_gives_a_stored_image_of_the_size_of_the_clean_one_and_leaves_that_alone(name):
    items = mine_items()
    before = [item.image.clone() for item in items]
    found = ALL[name](0)(items)
    for item, altered in zip(items, found, strict=True):
        assert altered.image.dtype == torch.uint8
        assert altered.image.shape == item.image.shape
        assert altered.image.is_contiguous()
        assert not torch.equal(altered.image, item.image)
        assert altered.reason is None
        assert 0 < altered.area <= 1
        changed = (altered.image != item.image).any(dim=0).double().mean().item()
        if name != "crop":  # its area is what was kept
            assert changed <= altered.area
    assert same(before, [item.image for item in items])


@pytest.mark.parametrize("name", ALL)
def test_an_item_alone_is_the_item_in_a_pack_in_any_order(name):
    items, miner = mine_items(), ALL[name](0)
    together = images(miner, items)
    assert same(together, [image for item in items for image in images(miner, [item])])
    assert same(together[::-1], images(miner, items[::-1]))
    assert images(miner, []) == []


@pytest.mark.parametrize("name", SEEDED)
def test_run_seed_and_sample_decide_and_nothing_else(name):
    items = mine_items()
    first = images(SEEDED[name](0), items)
    torch.manual_seed(99)
    assert same(first, images(SEEDED[name](0), items))
    other = images(SEEDED[name](1), items)
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    image = random_image(5, 84, 84)
    one, two = images(SEEDED[name](0), [mine_item(image, "one"), mine_item(image, "two")])
    assert not torch.equal(one, two)


@pytest.mark.parametrize("name", SEEDED)
def test_the_global_generator_is_not_touched(name):
    before = torch.get_rng_state()
    images(SEEDED[name](0), mine_items())
    assert torch.equal(before, torch.get_rng_state())


def test_the_blank_image_is_black():
    for item, altered in zip(mine_items(), Blank()(mine_items()), strict=True):
        assert altered.image.shape == item.image.shape
        assert not altered.image.any()
        assert (altered.area, altered.scope) == (1.0, "whole")


def test_the_blank_image_of_a_float_image_is_refused():
    with pytest.raises(ValueError, match="uint8"):
        Blank()([mine_item(torch.zeros(3, 28, 28))])
