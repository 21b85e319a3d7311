"""Negative images as bytes: lossless, without metadata, the same bytes for the same pixels."""

import torch
from torch import Tensor

from mbpo_core.data import images
from mbpo_core.models.preprocessing import check_stored


def encode_png(image: Tensor) -> bytes:
    """Uint8 `[3, H, W]` to PNG bytes. Errors: ValueError for another dtype or shape."""
    check_stored(image)
    return images.encode_png(image.cpu().permute(1, 2, 0).contiguous().numpy())


def decode_png(data: bytes) -> Tensor:
    """PNG bytes to uint8 `[3, H, W]`. Errors: ValueError unless it is an RGB image."""
    return torch.from_numpy(images.decode_png(data).copy()).permute(2, 0, 1).contiguous()
