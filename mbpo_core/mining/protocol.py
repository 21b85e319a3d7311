"""What a miner is given and what it returns: a negative image, or a reason why there is none.

A miner that needs no gradient of the whole response is an `Alteration`: a function from items to
altered images. What is common to all miners (8-bit PNG, re-reading, figures) is done once, around
it, in `alteration.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from mbpo_core.models.protocol import PromptedResponse

OK = "ok"

Scope = Literal["whole", "random", "regions"]
"""Which pixels an alteration was allowed to change."""


@dataclass(frozen=True)
class MineItem:
    """One selected sample as a miner sees it."""

    row: PromptedResponse
    """Prompt, chosen response and clean image (uint8 `[3, H, W]`) as the policy reads them."""
    question: str
    """The user's text."""
    chosen: str
    """The chosen response y_w as text."""
    source_id: str = ""
    """The record's own id; the embedded world finds its truth by it."""

    @property
    def sample_id(self) -> str:
        """Names the item; part of its seeds."""
        return self.row.sample_id

    @property
    def image(self) -> Tensor:
        """The clean image, uint8 `[3, H, W]`."""
        return self.row.image


@dataclass(frozen=True)
class Region:
    """Where in an image a phrase is."""

    phrase: str
    """What was looked for."""
    mask: Tensor
    """bool `[H, W]`, at least one pixel."""
    score: float | None = None
    """The finder's own confidence, if it has one; comparable within one finder only."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of the mask in pixels, the ends exclusive."""
        rows = self.mask.any(dim=1).nonzero().flatten()
        columns = self.mask.any(dim=0).nonzero().flatten()
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@dataclass(frozen=True)
class Tried:
    """One phrase or tag that a miner looked for: a row of the table `regions`."""

    phrase: str
    """Keyword (MFPO) or tag (AdaViP)."""
    phrase_score: float | None = None
    """Its rank score where phrases are ranked."""
    region: Region | None = None
    """Where it was found; None where it was not."""
    image: Tensor | None = None
    """The candidate image that it gave, uint8 `[3, H, W]` (AdaViP: the object removed)."""
    image_score: float | None = None
    """The candidate's score; the lowest becomes the negative (AdaViP)."""
    used: bool = False
    """Whether it took part in the negative image."""
    reason: str | None = None
    """Why it was not used."""


@dataclass(frozen=True)
class Altered:
    """A negative image before it is stored, and how it came about."""

    image: Tensor | None
    """uint8 `[3, H, W]` at the size of the clean one; None where there is none."""
    reason: str | None = None
    """Why there is none."""
    scope: Scope = "whole"
    """Which pixels it was allowed to change; `whole` with `tried` regions = none was found."""
    area: float | None = None
    """Share of the pixels in [0, 1] that it was allowed to change (noise), that differ (removal),
    or that are left of the image (crop)."""
    tried: tuple[Tried, ...] = ()
    """The phrases that were looked for, best first."""


class Alteration(Protocol):
    """Makes one altered image per item; result i belongs to item i."""

    def __call__(self, items: Sequence[MineItem]) -> list[Altered]:
        """Alter the images of one pack. A result depends on its own item only."""
        ...


class RegionFinder(Protocol):
    """Finds phrases in images."""

    def __call__(
        self, items: Sequence[MineItem], phrases: Sequence[Sequence[str]]
    ) -> list[list[Region | None]]:
        """Return a region, or None where nothing was found, for each phrase of each item."""
        ...


class Tagger(Protocol):
    """Names the objects of an image that could be removed (AdaViP)."""

    def __call__(self, items: Sequence[MineItem]) -> list[list[str]]:
        """Return the tags of each item, without repeats."""
        ...


class Inpainter(Protocol):
    """Fills regions with what could be behind them (AdaViP)."""

    def __call__(self, items: Sequence[MineItem], regions: Sequence[Region]) -> list[Tensor]:
        """Return uint8 `[3, H, W]` per (item, region); pixels outside of the region are kept."""
        ...


class ImageRanker(Protocol):
    """Says how much an image still supports the chosen response (AdaViP)."""

    def __call__(self, items: Sequence[MineItem], images: Sequence[Tensor]) -> list[float]:
        """Return one score per (item, image uint8 `[3, H, W]`); the lowest is the negative.

        NaN where there is nothing to score by.
        """
        ...


@dataclass(frozen=True)
class MinedImage:
    """A negative image as it will be read back, and what it does to the chosen response.

    Log-probabilities are sums over response tokens in nats, lp(y_w | q, .).
    """

    sample_id: str
    """Of the mined row."""
    status: str
    """"ok", or the reason why there is no image."""
    png: bytes | None = None
    """The negative image, lossless, RGB, at the size of the clean one; None unless "ok"."""
    logp_clean: float | None = None
    """Under the clean image."""
    logp_negative: float | None = None
    """Under the negative image as the miner left it in memory."""
    logp_reread: float | None = None
    """Under the negative image decoded from `png`: the figure to report."""
    logp_blank: float | None = None
    """Under the blank image."""
    logp_trace: tuple[float, ...] = ()
    """Under every iterate, the clean image first (iterative miners)."""
    best_step: int | None = None
    """Index of the smallest entry of `logp_trace`."""
    linf: float | None = None
    """Largest pixel change, in [0, 1]."""
    recovered: float | None = None
    """Share of the way to the blank image, see `recovered_share`."""
    recovered_reason: str | None = None
    """Why `recovered` is None."""
    retried: bool = False
    """Whether a gradient had to be computed again in float32."""
    scope: Scope = "whole"
    """See `Altered`."""
    area: float | None = None
    """See `Altered`."""
    tried: tuple[Tried, ...] = ()
    """See `Altered`."""


class NegativeMiner(Protocol):
    """Makes one negative image per item; result i belongs to item i."""

    def __call__(self, items: Sequence[MineItem]) -> list[MinedImage]:
        """Mine one pack of items."""
        ...


def recovered_share(
    clean: float, negative: float, blank: float, *, noise_floor: float
) -> tuple[float | None, str | None]:
    """(lp_clean - lp_negative) / (lp_clean - lp_blank), or None and the reason.

    1 means that the negative image supports the chosen response no more than a blank one, 0 that it
    still does so as much as the clean one. All in nats. The share is undefined where the image adds
    no more than `noise_floor` (a positive number of nats) to the response.
    Errors: ValueError if `noise_floor` is not above 0.
    Differs from the paper: it gives no such measure.
    """
    if not noise_floor > 0:
        raise ValueError(f"noise_floor must be above 0, got {noise_floor}")
    support = clean - blank
    if not support > noise_floor:
        return None, f"image adds {support:.4g} nats, noise floor {noise_floor:g}"
    return (clean - negative) / support, None
