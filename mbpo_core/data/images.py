"""The one policy for images: from the bytes of any file to the pixels that the model will see.

EXIF rotation applied, alpha over white, 8-bit RGB, one resize to a size that the model's processor
leaves alone, stored losslessly. No later reader resizes, rotates or re-encodes again.
"""

import hashlib
import io
import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from mbpo_core.records import Reason, Refusal

Pixels = NDArray[np.uint8]
"""8-bit RGB, [height, width, 3]."""

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Formats that are opened; among those left out are some that run other programs (EPS)."""
_MAX_16_BIT: Final = 65535
_SIXTEEN_BIT_MODES: Final = ("I;16", "I;16L", "I;16B", "I;16N", "I")


@dataclass(frozen=True)
class ImagePolicy:
    """Which images are taken, and to what size they are brought.

    Raises:
        ValueError: where no size can satisfy the bounds.
    """

    factor: int
    """Both sides become multiples of this many pixels: patch size x merge size (14 x 2 = 28)."""
    min_pixels: int
    """Smaller images are enlarged to at least this area."""
    max_pixels: int
    """Larger images are reduced to at most this area."""
    max_source_pixels: int
    """Images with more pixels than this are refused before they are decoded."""
    min_source_side: int = 10
    """Images with a shorter side are refused: there is nothing to see (assumed)."""

    def __post_init__(self) -> None:
        """Refuse bounds that contradict each other."""
        if self.factor < 1 or self.min_source_side < 1:
            raise ValueError(f"factor and min_source_side must be at least 1, got {self}")
        if not self.factor**2 <= self.max_pixels or not 0 < self.min_pixels <= self.max_pixels:
            raise ValueError(
                f"expected 0 < min_pixels <= max_pixels and max_pixels >= factor**2 "
                f"({self.factor**2}), got {self.min_pixels} and {self.max_pixels}"
            )
        if self.max_source_pixels < 1:
            raise ValueError(f"max_source_pixels must be at least 1, got {self.max_source_pixels}")


@dataclass(frozen=True)
class PreparedImage:
    """An image as it is stored."""

    png: bytes
    """8-bit RGB PNG without metadata."""
    height: int
    """Pixels, a multiple of the policy's factor."""
    width: int
    """Pixels, a multiple of the policy's factor."""
    image_id: str
    """sha256 of shape and pixels, so equal for equal pixels however they are compressed."""


def prepare_image(data: bytes, policy: ImagePolicy) -> PreparedImage | Refusal:
    """Bring the bytes of an image file to the stored form.

    Of an animation the first frame is taken. Colour profiles are not applied: no public processor
    of Qwen2-VL applies them.

    Args:
        data: the content of an image file, whatever it is.
        policy: bounds and factor.

    Returns:
        The prepared image, or why there is none. Never raises on bad bytes.
    """
    opened = _open(data, policy)
    if isinstance(opened, Refusal):
        return opened
    image = _decode(opened)
    if isinstance(image, Refusal):
        return image
    height, width = target_size(image.height, image.width, policy)
    if target_size(height, width, policy) != (height, width):
        detail = f"{image.height}x{image.width} becomes {height}x{width}, which is resized again"
        return Refusal(Reason.NOT_FIXED_POINT, detail)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    return PreparedImage(encode_png(pixels), height, width, image_id(pixels))


def target_size(height: int, width: int, policy: ImagePolicy) -> tuple[int, int]:
    """Return (height, width) by the installed transformers' `smart_resize`.

    Raises:
        ValueError: one side is more than 200 times as long as the other.
    """
    return smart_resize(height, width, policy.factor, policy.min_pixels, policy.max_pixels)


def encode_png(pixels: Pixels | Image.Image) -> bytes:
    """Return 8-bit RGB pixels as PNG without metadata; equal pixels give equal bytes.

    Args:
        pixels: [height, width, 3], or an RGB image.

    Raises:
        ValueError: another type or shape.
    """
    array = np.ascontiguousarray(pixels)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"expected uint8 [height, width, 3], got {array.dtype} {array.shape}")
    stream = io.BytesIO()
    # Level 1: on photographs 5 % larger than the default level and more than twice as fast.
    Image.fromarray(array).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def decode_png(data: bytes) -> Pixels:
    """Return the pixels [height, width, 3] of a stored image.

    Raises:
        ValueError: not a whole 8-bit RGB PNG.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.load()
            mode, pixels = image.mode, np.array(image)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"not a stored image: {error}") from error
    if mode != "RGB":
        raise ValueError(f"a stored image is 8-bit RGB, got mode {mode}")
    return pixels


def image_id(pixels: Pixels) -> str:
    """Return sha256 (hexadecimal) of shape and pixels; pixels: uint8 [height, width, 3]."""
    shape = "x".join(str(side) for side in pixels.shape)
    return hashlib.sha256(f"{shape}:".encode() + pixels.tobytes()).hexdigest()


def _open(data: bytes, policy: ImagePolicy) -> Image.Image | Refusal:
    """Read the header alone and refuse by size before any pixel is decoded."""
    try:
        with warnings.catch_warnings():
            # Pillow warns from a bound of its own on; the policy's bound is checked just below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        return Refusal(Reason.TOO_LARGE, str(error))
    except Exception as error:  # hostile bytes make the format readers raise nearly anything
        return Refusal(Reason.UNREADABLE, _told(error))
    width, height = image.size
    if width * height > policy.max_source_pixels:
        detail = f"{height}x{width} pixels, the limit is {policy.max_source_pixels}"
        return Refusal(Reason.TOO_LARGE, detail)
    if min(width, height) < policy.min_source_side:
        detail = f"{height}x{width} pixels, the shortest side allowed is {policy.min_source_side}"
        return Refusal(Reason.TOO_SMALL, detail)
    try:
        target_size(height, width, policy)
    except ValueError as error:
        return Refusal(Reason.EXTREME_RATIO, f"{height}x{width} pixels: {error}")
    return image


def _decode(image: Image.Image) -> Image.Image | Refusal:
    """Decode the pixels, upright, opaque and in 8-bit RGB."""
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
    except Exception as error:  # as above: the pixels of a damaged file
        return Refusal(Reason.TRUNCATED, _told(error))
    if upright.mode in _SIXTEEN_BIT_MODES:
        return _from_sixteen_bit(upright)
    if upright.mode == "F":
        return Refusal(Reason.UNSUPPORTED_MODE, "floating-point pixels")
    try:
        if not upright.has_transparency_data:
            return upright.convert("RGB")
        over = upright.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, over).convert("RGB")
    except ValueError as error:
        return Refusal(Reason.UNSUPPORTED_MODE, f"{upright.mode}: {_told(error)}")


def _from_sixteen_bit(image: Image.Image) -> Image.Image | Refusal:
    """Scale 0..65535 to 0..255, rounded; Pillow's own conversion would clip at 255.

    A grey value that a PNG calls transparent is white, as the ground under any transparency.
    """
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > _MAX_16_BIT:
        return Refusal(Reason.UNSUPPORTED_MODE, f"values {values.min()}..{values.max()}")
    scaled = (values * 255 + _MAX_16_BIT // 2) // _MAX_16_BIT
    if isinstance(transparent := image.info.get("transparency"), int):
        scaled[values == transparent] = 255
    return Image.fromarray(scaled.astype(np.uint8)).convert("RGB")


def _told(error: Exception) -> str:
    """Return an error as text; addresses of objects are cut out, so that rows repeat."""
    return f"{type(error).__name__}: {error}".split(" <_io")[0][:200]
