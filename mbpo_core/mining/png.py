"""Negative images as bytes: lossless, without metadata, the same bytes for the same pixels."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mbpo_core.models.preprocessing import check_stored


def encode_png(image: Tensor) -> bytes:
    """Uint8 `[3, H, W]` to PNG bytes. Errors: ValueError for another dtype or shape."""
    check_stored(image)
    pixels = np.ascontiguousarray(image.cpu().permute(1, 2, 0).numpy())
    stream = io.BytesIO()
    # Level 1: attack noise hardly compresses, and encoding stays far below an attack step.
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def decode_png(data: bytes) -> Tensor:
    """PNG bytes to uint8 `[3, H, W]`. Errors: ValueError unless it is an RGB image."""
    with Image.open(io.BytesIO(data)) as image:
        if image.mode != "RGB":
            raise ValueError(f"a stored negative is RGB, got {image.mode}")
        pixels = np.array(image)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
