"""From altered images to negatives: stored as they will be read back, and measured on that."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mbpo_core.mining.attack import logp_of
from mbpo_core.mining.png import decode_png, encode_png
from mbpo_core.mining.protocol import (
    OK,
    Alteration,
    Altered,
    MinedImage,
    MineItem,
    recovered_share,
)
from mbpo_core.models.preprocessing import blanks, to_unit, to_units
from mbpo_core.models.protocol import Policy

UNCHANGED = "unchanged"


@dataclass(frozen=True)
class AlterationMiner:
    """`NegativeMiner` around an alteration: noise, crop, removal."""

    policy: Policy
    """Measures what the alteration does to the chosen response."""
    alteration: Alteration
    """Makes the images."""
    noise_floor: float = 0.1
    """Nats that an image must add before a recovered share means something (assumed)."""

    def __call__(self, items: Sequence[MineItem]) -> list[MinedImage]:
        """Alter one pack, encode as PNG, decode, and score what was decoded.

        Figures are sums over response tokens in nats. An image that equals the clean one is
        refused as `unchanged`: it would be no negative.
        Errors: ValueError for an altered image of another size than its clean one.
        """
        altered = [
            _refused_if_equal(item, made)
            for item, made in zip(items, self.alteration(items), strict=True)
        ]
        pngs = [None if made.image is None else encode_png(made.image) for made in altered]
        done = [i for i, png in enumerate(pngs) if png is not None]
        figures = dict(zip(done, self._figures(items, pngs, done), strict=True))
        return [
            self._mined(item, made, png, figures.get(i))
            for i, (item, made, png) in enumerate(zip(items, altered, pngs, strict=True))
        ]

    @torch.no_grad()
    def _figures(
        self, items: Sequence[MineItem], pngs: Sequence[bytes | None], done: Sequence[int]
    ) -> list[tuple[float, float, float]]:
        """lp(y_w | q, .) under the clean, the re-read negative and the blank image."""
        if not done:
            return []
        rows = [items[i].row for i in done]
        stored = [row.image for row in rows]
        reread = [decode_png(pngs[i] or b"") for i in done]
        device = self.policy.device
        images: list[Tensor] = [
            *to_units(stored, device),
            *(to_unit(image).to(device) for image in reread),
            *blanks(stored, device),
        ]
        values = logp_of(self.policy, rows * 3)(images).view(3, -1)
        return [(float(clean), float(after), float(blank)) for clean, after, blank in values.T]

    def _mined(
        self,
        item: MineItem,
        made: Altered,
        png: bytes | None,
        figures: tuple[float, float, float] | None,
    ) -> MinedImage:
        about = {"scope": made.scope, "area": made.area, "tried": made.tried}
        if png is None or made.image is None or figures is None:
            return MinedImage(item.sample_id, made.reason or "no_image", **about)
        clean, after, blank = figures
        share, reason = recovered_share(clean, after, blank, noise_floor=self.noise_floor)
        change = (made.image.int() - item.image.cpu().int()).abs().max()
        return MinedImage(
            item.sample_id,
            OK,
            png=png,
            logp_clean=clean,
            logp_negative=after,
            logp_reread=after,
            logp_blank=blank,
            linf=float(change) / 255,
            recovered=share,
            recovered_reason=reason,
            **about,
        )


def _refused_if_equal(item: MineItem, made: Altered) -> Altered:
    if made.image is None:
        return made
    if made.image.shape != item.image.shape:
        raise ValueError(
            f"sample {item.sample_id}: the altered image has shape {list(made.image.shape)}, "
            f"the clean one {list(item.image.shape)}"
        )
    if torch.equal(made.image.cpu(), item.image.cpu()):
        return replace(made, image=None, reason=UNCHANGED)
    return made
