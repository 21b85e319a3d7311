"""Noise on the stored image: forward diffusion (POVID, BPO, MFPO) and uniform (offline-random)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mbpo_core.mining.lattice import LEVELS, lattice_units
from mbpo_core.mining.protocol import Altered, MineItem
from mbpo_core.models.preprocessing import check_stored
from mbpo_core.seeds import seed_for

STEPS = 1000
"""Length of the diffusion schedule (inferred)."""
CELL = 28
"""Side in pixels of what `random_cells` draws: one visual token of Qwen2-VL."""
DIFFUSION = "diffusion-noise"
CELLS = "noise-cells"
UNIFORM = "uniform-noise"


def alpha_bars(steps: int = STEPS) -> Tensor:
    """abar_t = prod_{s <= t} (1 - beta_s), the share of the image's power that is left at step t.

    beta = sigmoid(linspace(-6, 6, steps)) * (0.005 - 1e-5) + 1e-5 (second-hand).
    float64 `[steps]`, indexed by t = 0 .. steps - 1: abar_500 = 0.745 and abar_900 = 0.133, as the
    code of POVID and BPO counts (second-hand; counting from 1 would give 0.747 and 0.134).
    Errors: ValueError for fewer than 2 steps.
    Differs from the paper: MFPO prints no schedule; this is the one of the methods it compares
    with (assumed).
    """
    if steps < 2:
        raise ValueError(f"a schedule has at least 2 steps, got {steps}")
    slope = torch.linspace(-6, 6, steps, dtype=torch.float64).sigmoid()
    return (1 - (slope * (0.005 - 1e-5) + 1e-5)).cumprod(0)


def diffuse(image: Tensor, t: int, seed: int, mask: Tensor | None = None) -> Tensor:
    """x_t = sqrt(abar_t) x + sqrt(1 - abar_t) eps, eps ~ N(0, 1), on pixels x in [-1, 1].

    `image` and result are uint8 `[3, H, W]`; x_t is clipped to [-1, 1] and rounded to 8 bits. Where
    `mask` (bool `[H, W]`) is False the image is kept bit for bit. eps depends on the seed and the
    size of the image only: the same at every t and under every mask, on every device.
    Errors: ValueError for another image or mask, or a t outside 0 .. 999.
    Differs from the paper: range, clipping and 8 bits are assumed.
    """
    check_stored(image)
    _check_step(t)
    alpha = alpha_bars()[t].item()
    generator = torch.Generator().manual_seed(seed)
    eps = torch.randn(image.shape, generator=generator, dtype=torch.float64)
    clean = image.cpu().double() / (LEVELS / 2) - 1
    noisy = (math.sqrt(alpha) * clean + math.sqrt(1 - alpha) * eps).clamp(-1, 1)
    levels = ((noisy + 1) * (LEVELS / 2)).round().to(torch.uint8).to(image.device)
    return levels if mask is None else inside(mask, levels, image)


def inside(mask: Tensor, altered: Tensor, image: Tensor) -> Tensor:
    """`altered` where the mask is True, `image` elsewhere; `[3, H, W]`, mask bool `[H, W]`.

    Errors: ValueError for a mask of another dtype or size.
    Differs from the paper: nothing.
    """
    if mask.dtype != torch.bool or mask.shape != image.shape[1:]:
        raise ValueError(
            f"a mask is bool {list(image.shape[1:])}, got {mask.dtype} {list(mask.shape)}"
        )
    return torch.where(mask.to(image.device), altered, image)


def uniform_noise(image: Tensor, epsilon: float, seed: int) -> Tensor:
    """v + u with u uniform over the whole grey levels in [-epsilon, epsilon], clipped to 0..255.

    uint8 `[3, H, W]` in and out; `epsilon` in [0, 1], a whole multiple of 1/255; one u per channel
    and pixel.
    Errors: ValueError from `lattice_units`, or for another image.
    Differs from the paper: "randomly noised" is all that it says; the uniform law is assumed.
    """
    check_stored(image)
    units = lattice_units(epsilon, "epsilon")
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(-units, units + 1, image.shape, generator=generator)
    return (image.cpu() + noise).clamp(0, LEVELS).to(torch.uint8).to(image.device)


def random_cells(height: int, width: int, share: float, seed: int) -> Tensor:
    """Bool `[height, width]`: 28-pixel cells, drawn without replacement until `share` is reached.

    Cells at the right and lower border are cut where a side is no multiple of 28. The first cells
    of a larger share are those of a smaller one under the same seed.
    Errors: ValueError for a share outside (0, 1].
    Differs from the paper: MFPO says "random 20 %" and not of which shape (cells: assumed).
    """
    _check_share(share)
    rows, columns = math.ceil(height / CELL), math.ceil(width / CELL)
    order = torch.randperm(rows * columns, generator=torch.Generator().manual_seed(seed))
    mask = torch.zeros(height, width, dtype=torch.bool)
    for cell in order.tolist():
        # 1e-9: 0.2 of a number of pixels is not exact.
        if mask.sum().item() >= share * mask.numel() - 1e-9:
            break
        top, left = cell // columns * CELL, cell % columns * CELL
        mask[top : top + CELL, left : left + CELL] = True
    return mask


@dataclass(frozen=True, kw_only=True)
class DiffusionNoise:
    """`Alteration` by diffusion noise on the whole image or on random cells.

    A sample's eps is the same at any `t`, `scope` and `share` (and in `RegionNoise`), so that these
    settings are compared on the same draw.
    Errors: ValueError for a `t`, scope or share out of range.
    """

    run_seed: int
    """Seed of the run."""
    t: int = 500
    """Step of the schedule, 0 to 999: 500 in MFPO (paper) and POVID, 900 in BPO (second-hand)."""
    scope: Literal["whole", "random"] = "whole"
    """The whole image, or random cells of it (`random-20` of MFPO)."""
    share: float = 0.2
    """Share of the image that scope `random` covers, in (0, 1] (paper)."""

    def __post_init__(self) -> None:
        _check_step(self.t)
        _check_share(self.share)
        if self.scope not in ("whole", "random"):
            raise ValueError(f"scope must be 'whole' or 'random', got {self.scope!r}")

    def __call__(self, items: Sequence[MineItem]) -> list[Altered]:
        """Alter the images of one pack."""
        return [self._altered(item) for item in items]

    def _altered(self, item: MineItem) -> Altered:
        seed = seed_for(self.run_seed, item.sample_id, DIFFUSION)
        if self.scope == "whole":
            return Altered(diffuse(item.image, self.t, seed), area=1.0)
        where = seed_for(self.run_seed, item.sample_id, CELLS)
        mask = random_cells(*item.image.shape[1:], self.share, where)
        image = diffuse(item.image, self.t, seed, mask)
        return Altered(image, scope="random", area=mask.double().mean().item())


@dataclass(frozen=True, kw_only=True)
class UniformNoise:
    """`Alteration` by uniform noise: `offline-random` of MBPO.

    Errors: ValueError from `lattice_units`.
    """

    run_seed: int
    """Seed of the run."""
    epsilon: float = 64 / 255
    """Largest change, in [0, 1], a whole multiple of 1/255 (assumed; the range is unknown)."""

    def __post_init__(self) -> None:
        lattice_units(self.epsilon, "epsilon")

    def __call__(self, items: Sequence[MineItem]) -> list[Altered]:
        """Alter the images of one pack."""
        return [self._altered(item) for item in items]

    def _altered(self, item: MineItem) -> Altered:
        seed = seed_for(self.run_seed, item.sample_id, UNIFORM)
        return Altered(uniform_noise(item.image, self.epsilon, seed), area=1.0)


def _check_step(t: int) -> None:
    if isinstance(t, bool) or not isinstance(t, int) or not 0 <= t < STEPS:
        raise ValueError(f"t must be a whole number from 0 to {STEPS - 1}, got {t!r}")


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got {share}")
