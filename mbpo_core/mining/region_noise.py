"""Diffusion noise in the regions that the chosen response speaks of (MFPO)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mbpo_core.mining.noise import DIFFUSION, DiffusionNoise, diffuse
from mbpo_core.mining.protocol import Altered, MineItem, Region, RegionFinder, Tried
from mbpo_core.seeds import seed_for

NO_REGION = "no_region"

Keywords = Callable[[str], list[tuple[str, float]]]
"""A response to its key phrases and their scores, best first."""


@dataclass(frozen=True, kw_only=True)
class RegionNoise:
    """`Alteration`: v'_R = sqrt(abar_t) R + sqrt(1 - abar_t) eps in the key regions R (MFPO).

    R is the union of the regions of all keywords of the chosen response. No region found, or no
    keyword, is noise on the whole image (paper), recorded as scope `whole`; each keyword without a
    region stays in `tried` with the reason "no_region". Under one run seed the noise of a pixel is
    that of `DiffusionNoise`.
    Errors: ValueError for a `t` out of range, or a finder's mask that does not fit the image.
    Differs from the paper: how regions of several keywords are joined is assumed (their union).
    """

    finder: RegionFinder
    """Finds a phrase in an image."""
    keywords: Keywords
    """Picks the phrases."""
    run_seed: int
    """Seed of the run."""
    t: int = 500
    """Step of the schedule, 0 to 999 (500: paper, there found for noise on the whole image)."""

    def __post_init__(self) -> None:
        DiffusionNoise(run_seed=self.run_seed, t=self.t)  # the same rule for t

    def __call__(self, items: Sequence[MineItem]) -> list[Altered]:
        """Alter the images of one pack."""
        phrases = [self.keywords(item.chosen) for item in items]
        found = self.finder(items, [[phrase for phrase, _ in ranked] for ranked in phrases])
        return [
            self._altered(item, _tried(ranked, regions))
            for item, ranked, regions in zip(items, phrases, found, strict=True)
        ]

    def _altered(self, item: MineItem, tried: tuple[Tried, ...]) -> Altered:
        seed = seed_for(self.run_seed, item.sample_id, DIFFUSION)
        masks = [one.region.mask for one in tried if one.region is not None]
        if not masks:
            return Altered(diffuse(item.image, self.t, seed), area=1.0, tried=tried)
        mask = _union(masks)
        image = diffuse(item.image, self.t, seed, mask)
        area = mask.double().mean().item()
        return Altered(image, scope="regions", area=area, tried=tried)


def _tried(
    ranked: Sequence[tuple[str, float]], regions: Sequence[Region | None]
) -> tuple[Tried, ...]:
    return tuple(
        Tried(phrase, score, region, used=region is not None,
              reason=NO_REGION if region is None else None)
        for (phrase, score), region in zip(ranked, regions, strict=True)
    )  # fmt: skip


def _union(masks: Sequence[Tensor]) -> Tensor:
    return torch.stack([mask.cpu() for mask in masks]).any(dim=0)
