"""Regions without a detector: superpixels ranked by the policy's own gradient."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mbpo_core.mining.phrase_tokens import phrase_tokens
from mbpo_core.mining.protocol import MineItem, Region
from mbpo_core.models.preprocessing import check_stored, to_unit
from mbpo_core.models.protocol import Policy

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CellFinder:
    """`RegionFinder` without weights of its own: where the policy looks when it says the phrase.

    The region of a phrase is the union of the superpixels with the largest mean of
    |d sum_t log pi(y_t | q, v, y_<t) / d v|, t over the phrase's tokens in the chosen response, v
    the clean image, until `share` of the image is covered. `Region.score` is the share of the
    gradient's sum that lies inside. None where the response does not say the phrase, or where the
    gradient is zero or (logged) not finite. It points at evidence, not at objects: a phrase that
    the question already names needs little of the image.
    Errors: ValueError for a share outside (0, 1] or a cell below 1; ImportError without
    scikit-image.
    Differs from the paper: MFPO uses a detector and SAM; this is the choice that needs no download.
    """

    policy: Policy
    """Whose gradient is taken."""
    share: float = 0.1
    """Least share of the image that a region covers, in (0, 1] (assumed)."""
    cell: int = 14
    """One superpixel for each square of so many pixels (assumed: one patch of the vision tower)."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be in (0, 1], got {self.share}")
        if self.cell < 1:
            raise ValueError(f"cell must be at least 1 pixel, got {self.cell}")

    def __call__(
        self, items: Sequence[MineItem], phrases: Sequence[Sequence[str]]
    ) -> list[list[Region | None]]:
        """Find the phrases of one pack."""
        gradients = phrase_gradients(self.policy, items, phrases)
        return [
            self._regions(item, own, maps)
            for item, own, maps in zip(items, phrases, gradients, strict=True)
        ]

    def _regions(
        self, item: MineItem, phrases: Sequence[str], maps: Sequence[Tensor | None]
    ) -> list[Region | None]:
        if all(found is None for found in maps):
            return [None] * len(phrases)
        labels = superpixels(item.image, self.cell)
        return [
            None if found is None else self._region(item, phrase, found, labels)
            for phrase, found in zip(phrases, maps, strict=True)
        ]

    def _region(self, item: MineItem, phrase: str, found: Tensor, labels: Tensor) -> Region | None:
        total = found.sum()
        if not total.isfinite():
            logger.warning("%s: the gradient of %r is not finite", item.sample_id, phrase)
            return None
        if total == 0:
            return None
        mask = best_superpixels(found, labels, self.share)
        return Region(phrase, mask, (found[mask].sum() / total).item())


def phrase_gradients(
    policy: Policy, items: Sequence[MineItem], phrases: Sequence[Sequence[str]]
) -> list[list[Tensor | None]]:
    """g_p = sum over channels of |d sum_{t in p} log pi(y_t | q, v, y_<t) / d v|, v in [0, 1].

    Per item and phrase float64 `[H, W]` on the CPU, in nats per unit of pixel value; None where the
    chosen response does not say the phrase. One forward pass for all items, one backward pass for
    each place in the lists of phrases. Parameters get no gradient; the model's mode is left alone.
    Errors: ValueError as `Policy.token_logps`, or for lists of different lengths.
    Differs from the paper: it has no such map.
    """
    spans = [
        {place: span for place, phrase in enumerate(own)
         if (span := phrase_tokens(policy, item.row.response, phrase))}
        for item, own in zip(items, phrases, strict=True)
    ]  # fmt: skip
    maps: list[list[Tensor | None]] = [[None] * len(own) for own in phrases]
    asked = [index for index, own in enumerate(spans) if own]
    if not asked:
        return maps
    # A leaf for each item, even where two share an image: their gradients are not to be added.
    leaves = {i: to_unit(items[i].image.to(policy.device)).requires_grad_() for i in asked}
    with policy.frozen():
        logps = dict(zip(asked, _logps(policy, items, leaves), strict=True))
        for place in sorted({place for own in spans for place in own}):
            said = {i: spans[i][place] for i in asked if place in spans[i]}
            logp = [logps[i][span.start : span.stop].double().sum() for i, span in said.items()]
            # Samples are independent, so the gradient of the sum is the gradient of each.
            taken = torch.autograd.grad(sum(logp), [leaves[i] for i in said], retain_graph=True)
            for i, gradient in zip(said, taken, strict=True):
                maps[i][place] = gradient.abs().sum(dim=0, dtype=torch.float64).cpu()
    return maps


def _logps(policy: Policy, items: Sequence[MineItem], leaves: dict[int, Tensor]) -> list[Tensor]:
    rows = [items[i].row for i in leaves]
    prompts, responses = [row.prompt for row in rows], [row.response for row in rows]
    return policy.token_logps(prompts, responses, list(leaves.values()))


def superpixels(image: Tensor, cell: int) -> Tensor:
    """Superpixel of each pixel, int64 `[H, W]` from 0 on: SLIC, about one for each `cell` x `cell`.

    uint8 `[3, H, W]` in. Deterministic. The variant without a compactness parameter (SLICO): with a
    fixed one, a strong texture ends as one superpixel.
    Errors: ImportError without scikit-image; ValueError for another image.
    Differs from the paper: it has no superpixels.
    """
    check_stored(image)
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise ImportError("the region finder 'cells' needs scikit-image") from error
    pixels = image.permute(1, 2, 0).cpu().contiguous().numpy()
    count = max(1, round(pixels.shape[0] * pixels.shape[1] / cell**2))
    labels = slic(pixels, n_segments=count, slic_zero=True, start_label=0)
    return torch.from_numpy(labels).unique(return_inverse=True)[1]


def best_superpixels(values: Tensor, labels: Tensor, share: float) -> Tensor:
    """Bool `[H, W]`: superpixels in descending order of mean value until `share` is covered.

    `values` are float64 `[H, W]`, `labels` int64 `[H, W]` from 0 on; ties go to the smaller label.
    Errors: none.
    Differs from the paper: it has no superpixels.
    """
    sizes = labels.flatten().bincount()
    means = labels.flatten().bincount(values.flatten()) / sizes
    order = means.sort(descending=True, stable=True).indices
    covered = sizes[order].cumsum(0)
    # Those before the share is reached, and the one that reaches it.
    taken = order[covered - sizes[order] < share * labels.numel() - 1e-9]
    return torch.isin(labels, taken)
