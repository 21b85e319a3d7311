"""A small crop, resized to the full size: the negative image of mDPO."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mbpo_core.mining.protocol import Altered, MineItem
from mbpo_core.models.preprocessing import check_stored
from mbpo_core.seeds import seed_for

CROP = "crop"
ASPECTS = (3 / 4, 4 / 3)
"""Bounds of width / height of a crop (assumed, those of the usual random resized crop)."""

Box = tuple[int, int, int, int]


def random_box(height: int, width: int, least: float, most: float, seed: int) -> Box:
    """(left, top, right, bottom) of a random crop in pixels, the ends exclusive.

    Its share of the area is uniform in [least, most], width / height log-uniform in [3/4, 4/3]
    (bent as far as a long image demands), its place uniform. Rounding to pixels keeps the share
    inside its bounds wherever some width does.
    Errors: ValueError unless 0 < least <= most <= 1.
    Differs from the paper: mDPO prints the share only (1 to 20 % kept); the rest is assumed.
    """
    _check_shares(least, most)
    rng = random.Random(seed)
    pixels = height * width
    area = rng.uniform(least, most) * pixels
    aspect = math.exp(rng.uniform(*map(math.log, ASPECTS)))
    # At least as many rows as leave the crop no wider than the image.
    rows = min(max(round(math.sqrt(area / aspect)), math.ceil(area / width), 1), height)
    columns = max(round(area / rows), math.ceil(least * pixels / rows))
    columns = max(1, min(columns, math.floor(most * pixels / rows), width))
    left, top = rng.randint(0, width - columns), rng.randint(0, height - rows)
    return left, top, left + columns, top + rows


def crop_and_resize(image: Tensor, box: Box) -> Tensor:
    """The pixels of the box, resized to the size of the image by Pillow's bicubic filter.

    uint8 `[3, H, W]` in and out.
    Errors: ValueError for an image that is not uint8 `[3, H, W]`.
    Differs from the paper: mDPO names no filter (bicubic: assumed).
    """
    check_stored(image)
    left, top, right, bottom = box
    kept = image[:, top:bottom, left:right].permute(1, 2, 0).cpu().contiguous()
    size = (image.shape[2], image.shape[1])
    resized = Image.fromarray(kept.numpy()).resize(size, Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(resized))
    return pixels.permute(2, 0, 1).contiguous().to(image.device)


@dataclass(frozen=True, kw_only=True)
class Crop:
    """`Alteration` of mDPO: only a small crop of the image is kept.

    `Altered.area` is the share that was *kept*.
    Errors: ValueError unless 0 < least <= most <= 1.
    """

    run_seed: int
    """Seed of the run."""
    least: float = 0.01
    """Smallest share of the area that is kept (second-hand)."""
    most: float = 0.2
    """Largest share of the area that is kept (second-hand)."""

    def __post_init__(self) -> None:
        _check_shares(self.least, self.most)

    def __call__(self, items: Sequence[MineItem]) -> list[Altered]:
        """Alter the images of one pack."""
        return [self._altered(item) for item in items]

    def _altered(self, item: MineItem) -> Altered:
        height, width = item.image.shape[1:]
        seed = seed_for(self.run_seed, item.sample_id, CROP)
        box = random_box(height, width, self.least, self.most, seed)
        left, top, right, bottom = box
        kept = (right - left) * (bottom - top) / (height * width)
        return Altered(crop_and_resize(item.image, box), area=kept)


def _check_shares(least: float, most: float) -> None:
    if not 0 < least <= most <= 1:
        raise ValueError(f"expected 0 < least <= most <= 1, got {least} and {most}")
