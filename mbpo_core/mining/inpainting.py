"""Fill a region with what could be behind it (AdaViP, step 1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from mbpo_core.mining.protocol import MineItem, Region
from mbpo_core.models.preprocessing import to_unit

Method = Literal["telea", "ns"]

LAMA_FACTOR = 8
"""LaMa halves its input three times: its sides must be multiples of this."""


def grown(mask: Tensor, grow: int) -> Tensor:
    """Mask bool `[H, W]` and all pixels at most `grow` rows and `grow` columns away.

    A mask that ends at the object's outline leaves a rim of it, from which an inpainter would draw
    the object again. Errors: ValueError if `grow` is negative.
    """
    if grow < 0:
        raise ValueError(f"grow must be at least 0, got {grow}")
    return max_pool2d(mask[None].float(), 2 * grow + 1, stride=1, padding=grow)[0].bool()


@dataclass(frozen=True)
class OpenCVInpainter:
    """`Inpainter` without weights: Telea's fast marching or Navier-Stokes, as OpenCV has them.

    What changes is the *grown* mask, see `grown`; all other pixels are kept bit for bit. Where no
    pixel is left to fill from, the image comes back unchanged.
    Errors: ValueError for another method, a radius below 1 or a negative `grow`; ImportError
    without OpenCV.
    Differs from the paper: it fills with big-LaMa, see `LamaInpainter`.
    """

    method: Method = "telea"
    """"telea" or "ns" (assumed)."""
    radius: int = 3
    """How far, in pixels, a filled pixel looks around (that of OpenCV's tutorial; assumed)."""
    grow: int = 2
    """See `grown` (assumed)."""

    def __post_init__(self) -> None:
        """Refuse other settings at once."""
        if self.method not in ("telea", "ns"):
            raise ValueError(f"method must be telea or ns, got {self.method!r}")
        if self.radius < 1 or self.grow < 0:
            raise ValueError(
                f"radius must be at least 1 and grow at least 0, got {self.radius}, {self.grow}"
            )

    def __call__(self, items: Sequence[MineItem], regions: Sequence[Region]) -> list[Tensor]:
        """Return uint8 `[3, H, W]` per (item, region)."""
        return [self._fill(item, region) for item, region in zip(items, regions, strict=True)]

    def _fill(self, item: MineItem, region: Region) -> Tensor:
        cv2 = _opencv()
        mask = _mask(item, region, self.grow)
        flag = {"telea": cv2.INPAINT_TELEA, "ns": cv2.INPAINT_NS}[self.method]
        pixels = item.image.cpu().permute(1, 2, 0).contiguous().numpy()
        filled = cv2.inpaint(pixels, mask.byte().numpy(), self.radius, flag)
        return _composite(item.image, torch.from_numpy(filled).permute(2, 0, 1), mask)


class LamaInpainter:
    """`Inpainter` with a LaMa network that was exported as TorchScript (AdaViP: big-LaMa).

    The network takes an image `[1, 3, H, W]` in [0, 1] and a mask `[1, 1, H, W]` of 0 and 1, and
    returns an image `[1, 3, H, W]` in [0, 1]; H and W are multiples of 8 (images are extended by
    their mirror image, and cut again). What changes is the *grown* mask, see `grown`; all other
    pixels are kept bit for bit.
    Errors: FileNotFoundError for a missing file, RuntimeError (of torch) for a file that is no
    TorchScript, ValueError for a network that returns another shape or numbers that are not finite.
    """

    def __init__(self, path: str | Path, *, device: str = "cpu", grow: int = 2) -> None:
        """Load the file; `grow` as in `grown` (assumed)."""
        file = Path(path).expanduser()
        if not file.is_file():
            raise FileNotFoundError(f"LaMa network not found: {file}; expected a TorchScript file")
        if grow < 0:
            raise ValueError(f"grow must be at least 0, got {grow}")
        self.device = torch.device(device)
        self.grow = grow
        # torch would rather have torch.export, but LaMa is passed around as TorchScript.
        self.network = torch.jit.load(file, map_location=self.device).eval()

    def __call__(self, items: Sequence[MineItem], regions: Sequence[Region]) -> list[Tensor]:
        """Return uint8 `[3, H, W]` per (item, region)."""
        return [self._fill(item, region) for item, region in zip(items, regions, strict=True)]

    @torch.no_grad()
    def _fill(self, item: MineItem, region: Region) -> Tensor:
        mask = _mask(item, region, self.grow)
        height, width = mask.shape
        image = _mirrored(to_unit(item.image.cpu()))[None].to(self.device)
        filled = self.network(image, _mirrored(mask[None].float())[None].to(self.device))
        if filled.shape != image.shape or not filled.isfinite().all():
            raise ValueError(
                f"{item.sample_id}: LaMa must return finite {list(image.shape)}, "
                f"got {list(filled.shape)}"
            )
        levels = (filled[0, :, :height, :width].float().clamp(0, 1) * 255).round().byte()
        return _composite(item.image, levels.cpu(), mask)


def _opencv() -> object:
    try:
        import cv2
    except ImportError as error:
        raise ImportError("OpenCVInpainter needs opencv-python-headless") from error
    return cv2


def _mask(item: MineItem, region: Region, grow: int) -> Tensor:
    if region.mask.shape != item.image.shape[1:]:
        raise ValueError(
            f"{item.sample_id}: mask of {region.phrase!r} is {list(region.mask.shape)}, "
            f"expected {list(item.image.shape[1:])}"
        )
    return grown(region.mask.cpu(), grow)


def _composite(image: Tensor, filled: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, filled, image.cpu()).to(image.device)


def _mirrored(planes: Tensor) -> Tensor:
    """Planes `[C, H, W]`, extended at the bottom and right to multiples of `LAMA_FACTOR`."""
    for dim in (1, 2):
        size = planes.shape[dim]
        index = torch.arange(size + -size % LAMA_FACTOR)
        planes = planes.index_select(
            dim, index.where(index < size, (2 * size - 1 - index).clamp(0))
        )
    return planes
