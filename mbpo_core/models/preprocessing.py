"""Pixels to patches and tokens to rotary positions, as Qwen2-VL and Qwen2.5-VL expect them.

Everything here is a function on tensors and differentiable where a gradient makes sense, so that an
attack works on the image and not on `pixel_values` (whose two temporal copies drift apart).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

PREPROCESSOR_FILE = "preprocessor_config.json"


@dataclass(frozen=True)
class ImageConfig:
    """How a checkpoint wants its images; the defaults are those of Qwen2-VL and Qwen2.5-VL."""

    image_mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    """Mean of each channel, of pixels in [0, 1] (those of CLIP, not of ImageNet)."""
    image_std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    """Standard deviation of each channel."""
    patch_size: int = 14
    """Side of a patch in pixels."""
    temporal_patch_size: int = 2
    """How often a still image is repeated in time."""
    merge_size: int = 2
    """Side of the block of patches that becomes one token of the language model."""
    min_pixels: int = 56 * 56
    """Smallest area that `target_size` gives."""
    max_pixels: int = 16384 * 28 * 28
    """Largest area that `target_size` gives."""

    @property
    def factor(self) -> int:
        """Sides of a prepared image are multiples of this (28 pixels: one token)."""
        return self.patch_size * self.merge_size

    def target_size(self, height: int, width: int) -> tuple[int, int]:
        """Size (height, width) that the model's own `smart_resize` gives an image.

        Errors: ValueError for an aspect ratio above 200.
        """
        return smart_resize(height, width, self.factor, self.min_pixels, self.max_pixels)

    def grid(self, height: int, width: int) -> tuple[int, int, int]:
        """`image_grid_thw` row (1, H / patch, W / patch) of a prepared image.

        Errors: ValueError if a side is not a multiple of `factor`: images are resized once, when
        they enter the project, and never here.
        """
        if height <= 0 or width <= 0 or height % self.factor or width % self.factor:
            raise ValueError(
                f"image sides must be multiples of {self.factor}, got {height} x {width}; "
                f"resize to target_size() when the image is read"
            )
        return 1, height // self.patch_size, width // self.patch_size

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Read `preprocessor_config.json` of a checkpoint.

        Both spellings of the area limits (`min_pixels`, `size.shortest_edge`) are understood.
        Errors: FileNotFoundError if the file is missing.
        """
        path = folder / PREPROCESSOR_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{PREPROCESSOR_FILE} not found in {folder}")
        raw = json.loads(path.read_text())
        size = raw.get("size") or {}
        limits = {
            "min_pixels": raw.get("min_pixels") or size.get("shortest_edge"),
            "max_pixels": raw.get("max_pixels") or size.get("longest_edge"),
        }
        keys = ("image_mean", "image_std", "patch_size", "temporal_patch_size", "merge_size")
        found = {key: raw[key] for key in keys if key in raw} | {
            k: v for k, v in limits.items() if v
        }
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in found.items()})

    def save(self, folder: Path) -> None:
        """Write `preprocessor_config.json` as transformers reads it."""
        fields = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        fields["image_processor_type"] = "Qwen2VLImageProcessor"
        (folder / PREPROCESSOR_FILE).write_text(json.dumps(fields, indent=2) + "\n")


def to_unit(image: Tensor) -> Tensor:
    """Stored image to model input: uint8 `[3, H, W]` to float32 in [0, 1].

    Equal, bit for bit, to the rescaling of the transformers image processor.
    Errors: ValueError for another dtype or shape.
    """
    check_stored(image)
    return scaled(image)


def scaled(levels: Tensor) -> Tensor:
    """Grey levels 0..255 to float32 in [0, 1], rounded once, alike on every device.

    By way of float64 as in the transformers image processor: a GPU divides float32 by a constant
    with an error in the last bit, and the image of an attack would not be the one read back.
    Differentiable.
    """
    return (levels.double() * (1 / 255)).float()


def to_units(images: Sequence[Tensor], device: torch.device | None = None) -> list[Tensor]:
    """`to_unit` of each; an object that repeats stays one object, so it is encoded once.

    Moved to `device` first, where given: a byte a value, not four.
    """
    converted = {id(image): to_unit(image.to(device or image.device)) for image in images}
    return [converted[id(image)] for image in images]


def check_stored(image: Tensor) -> None:
    """Raise ValueError unless the image is uint8 `[3, H, W]`."""
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(
            f"a stored image is uint8 [3, H, W], got {image.dtype} {list(image.shape)}"
        )


def blank_like(image: Tensor) -> Tensor:
    """Blank image v0 of eq. 4: all-zero pixels (black) of the same size, dtype and device.

    Zero *before* normalisation; zeros in `pixel_values` would be mean grey.
    Differs from the paper: it says "all-zero pixels" only; before normalisation is our reading.
    """
    return torch.zeros_like(image)


def blanks(images: Sequence[Tensor], device: torch.device | None = None) -> list[Tensor]:
    """Blank model inputs for stored images, one tensor object per size (so encoded once)."""
    by_size = {tuple(image.shape): image for image in images}
    made = {
        size: to_unit(blank_like(image.to(device or image.device)))
        for size, image in by_size.items()
    }
    return [made[tuple(image.shape)] for image in images]


def patchify(image: Tensor, config: ImageConfig) -> Tensor:
    """Normalise and cut into patches: `[3, H, W]` in [0, 1] to `[gh * gw, 3 * t * p * p]`.

    Row order: blocks of merge x merge patches, row-major over blocks, then inside the block. Column
    order: channel, time, y, x. Bit-exact with the PIL image processor of transformers in float32.
    Differentiable; the gradient of a pixel sums over its temporal copies.
    Errors: ValueError for integer images, a wrong shape, or sides that are no multiple of `factor`.
    """
    if not image.is_floating_point() or image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(
            f"a model image is float [3, H, W] in [0, 1], got {image.dtype} {list(image.shape)}"
        )
    _, gh, gw = config.grid(image.shape[1], image.shape[2])
    p, m, t = config.patch_size, config.merge_size, config.temporal_patch_size
    mean, std = image.new_tensor(config.image_mean), image.new_tensor(config.image_std)
    normal = (image - mean[:, None, None]) / std[:, None, None]
    blocks = normal.reshape(3, gh // m, m, p, gw // m, m, p).permute(1, 4, 2, 5, 0, 3, 6)
    return blocks.unsqueeze(5).expand(-1, -1, -1, -1, -1, t, -1, -1).reshape(gh * gw, -1)


def unpatchify(patches: Tensor, height: int, width: int, config: ImageConfig) -> Tensor:
    """Inverse of `patchify`: `[gh * gw, 3 * t * p * p]` to `[3, H, W]` in [0, 1].

    Reads the first temporal copy. Errors: ValueError if the number of patches does not fit.
    """
    _, gh, gw = config.grid(height, width)
    p, m, t = config.patch_size, config.merge_size, config.temporal_patch_size
    if patches.shape != (gh * gw, 3 * t * p * p):
        raise ValueError(
            f"{height} x {width} has patches {[gh * gw, 3 * t * p * p]}, got {list(patches.shape)}"
        )
    blocks = patches.reshape(gh // m, gw // m, m, m, 3, t, p, p)[:, :, :, :, :, 0]
    normal = blocks.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, height, width)
    mean, std = patches.new_tensor(config.image_mean), patches.new_tensor(config.image_std)
    return normal * std[:, None, None] + mean[:, None, None]


def mrope_positions(
    ids: Sequence[int], image_token_id: int, grid: tuple[int, int, int], merge_size: int
) -> Tensor:
    """Multimodal rotary positions of a row with one image: int64 `[3, len(ids)]` (time, y, x).

    Text counts 0, 1, ... on all three axes. The image at position p has time p and y, x from p on;
    the text behind it continues at p + max(rows, columns). Equal to transformers' `get_rope_index`.
    Errors: ValueError unless the image tokens are one run of the length that the grid needs.
    """
    rows, columns = grid[1] // merge_size, grid[2] // merge_size
    count = rows * columns
    if image_token_id not in ids:
        raise ValueError("the prompt has no image tokens")
    start = list(ids).index(image_token_id)
    run = sum(1 for token in ids[start : start + count] if token == image_token_id)
    total = sum(1 for token in ids if token == image_token_id)
    if run != count or total != count:
        raise ValueError(f"the image needs one run of {count} image tokens, the prompt has {total}")
    before = torch.arange(start).expand(3, -1)
    image = start + torch.stack(
        [
            torch.zeros(count, dtype=torch.long),
            torch.arange(rows).repeat_interleave(columns),
            torch.arange(columns).repeat(rows),
        ]
    )
    after = torch.arange(len(ids) - start - count).expand(3, -1) + start + max(rows, columns)
    return torch.cat([before, image, after], dim=1)
