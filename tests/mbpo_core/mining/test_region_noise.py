from dataclasses import dataclass, field

import pytest
import torch

from mbpo_core.mining.noise import DiffusionNoise
from mbpo_core.mining.protocol import Region, Tried
from mbpo_core.mining.region_noise import NO_REGION, RegionNoise
from tests.mbpo_core.mining.mine_items import mine_item, mine_items
from tests.mbpo_core.tiny_models import random_image


def words(text):
    return [(word, 1 / place) for place, word in enumerate(text.split(), start=1)]


def rectangle(size, top, bottom, left, right):
    mask = torch.zeros(size, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


@dataclass
class Known:
    """Finds what it was told of."""

    boxes: dict
    asked: list = field(default_factory=list)

    def __call__(self, items, phrases):
        self.asked.append([list(own) for own in phrases])
        return [
            [
                Region(phrase, rectangle(item.image.shape[1:], *self.boxes[phrase]))
                if phrase in self.boxes
                else None
                for phrase in own
            ]
            for item, own in zip(items, phrases, strict=True)
        ]


def altered(boxes, chosen, **settings):
    item = mine_item(random_image(0, 56, 84), chosen=chosen)
    miner = RegionNoise(finder=Known(boxes), keywords=words, run_seed=1, **settings)
    (found,) = miner([item])
    return item, found


def test_noise_lies_in_the_union_and_is_that_of_the_whole_image():
    item, found = altered({"cat": (0, 20, 0, 30), "hat": (10, 40, 20, 50)}, "cat hat dog", t=300)
    union = rectangle((56, 84), 0, 20, 0, 30) | rectangle((56, 84), 10, 40, 20, 50)
    (whole,) = DiffusionNoise(run_seed=1, t=300)([item])
    assert torch.equal(found.image, torch.where(union, whole.image, item.image))
    assert found.scope == "regions"
    assert found.area == (20 * 30 + 30 * 30 - 10 * 10) / (56 * 84)
    assert [(one.phrase, one.phrase_score, one.used, one.reason) for one in found.tried] == [
        ("cat", 1.0, True, None),
        ("hat", 0.5, True, None),
        ("dog", pytest.approx(1 / 3), False, NO_REGION),
    ]
    assert [one.region and one.region.box for one in found.tried] == [
        (0, 0, 30, 20),
        (20, 10, 50, 40),
        None,
    ]


@pytest.mark.parametrize("chosen", ["dog sled", ""])
def test_no_region_or_no_keyword_is_the_whole_image_and_says_so(chosen):
    item, found = altered({"cat": (0, 20, 0, 30)}, chosen)
    (whole,) = DiffusionNoise(run_seed=1)([item])
    assert torch.equal(found.image, whole.image)
    assert (found.scope, found.area, found.reason) == ("whole", 1.0, None)
    assert found.tried == tuple(Tried(w, s, reason=NO_REGION) for w, s in words(chosen))


def test_the_finder_sees_a_pack_at_once_and_every_item_keeps_its_own():
    finder = Known({"cat": (0, 5, 0, 5), "hat": (5, 10, 5, 10)})
    sentences = ("hat", "a cat", "", "dog")
    items = [
        mine_item(random_image(i, 56, 84), f"row-{i}", chosen) for i, chosen in enumerate(sentences)
    ]
    found = RegionNoise(finder=finder, keywords=words, run_seed=0)(items)
    assert finder.asked == [[["hat"], ["a", "cat"], [], ["dog"]]]
    assert [one.scope for one in found] == ["regions", "regions", "whole", "whole"]
    changed = [(one.image != item.image).any(0) for one, item in zip(found, items, strict=True)]
    assert not changed[0][:5].any() and changed[0][5:10, 5:10].any()
    assert not changed[1][5:].any() and changed[1][:5, :5].any()


def test_a_mask_of_another_size_is_an_error():
    class Wrong:
        def __call__(self, items, phrases):
            return [[Region("cat", torch.ones(3, 3).bool())] * len(own) for own in phrases]

    with pytest.raises(ValueError, match="a mask is bool"):
        RegionNoise(finder=Wrong(), keywords=words, run_seed=0)(mine_items()[:1])


def test_refuses_a_step_outside_the_schedule():
    with pytest.raises(ValueError, match="0 to 999"):
        RegionNoise(finder=Known({}), keywords=words, run_seed=0, t=1000)
