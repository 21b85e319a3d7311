"""Image files that make trouble: what each holds, and what ingest has to make of it."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from mbpo_core.records import Reason

HEIGHT, WIDTH = 56, 84
"""Pixels; a size that no policy here resizes."""
Array = NDArray[np.uint8]


@dataclass(frozen=True)
class PoisonImage:
    """One file: its bytes, and the pixels that it shows or the reason why it is refused."""

    data: bytes
    shows: Array | None = None
    """RGB [height, width, 3] by arithmetic of its own, not by the code under test."""
    off_by: int = 0
    """Levels that a lossy format, or rounding of 16 bits, may be away."""
    reason: Reason | None = None


def picture(seed: int = 0) -> Array:
    """Blocks of 14 x 14 pixels in random colours: survives JPEG, shows every rotation."""
    blocks = np.random.default_rng(seed).integers(0, 256, (HEIGHT // 14, WIDTH // 14, 3))
    return blocks.astype(np.uint8).repeat(14, axis=0).repeat(14, axis=1)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return an image as the bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    """Return a PNG written by hand: Pillow writes neither all depths nor all colour types.

    `rows` are the pixels without filter bytes; `more` are chunks before the pixels.
    """
    size = len(rows) // height if rows else 0
    lines = b"".join(b"\0" + rows[n * size : (n + 1) * size] for n in range(height if rows else 0))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + b"".join(more) + chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def _ramp() -> NDArray[np.uint16]:
    """Grey values over all 16 bits, so that clipping at 255 would make nearly all of it white."""
    values = np.linspace(0, 65535, (HEIGHT // 14) * (WIDTH // 14)).astype(np.uint16)
    return values.reshape(HEIGHT // 14, -1).repeat(14, axis=0).repeat(14, axis=1)


def _eight(values: NDArray[np.uint16]) -> Array:
    return np.rint(values.astype(float) / 257).astype(np.uint8)


def _grey(values: Array) -> Array:
    return np.stack([values] * 3, axis=-1)


def _over_white(colour: Array, alpha: Array) -> Array:
    share = alpha[..., None].astype(float) / 255
    return np.rint(colour * share + 255 * (1 - share)).astype(np.uint8)


def _alpha() -> Array:
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:, :28], alpha[:, 28:56] = 0, 128
    return alpha


def depths() -> dict[str, PoisonImage]:
    """Return pictures of one bit to sixteen."""
    ramp, colours = _ramp(), picture(1).astype(np.uint16) * 257
    tiff = {"kind": "TIFF"}
    grey = _grey(_eight(ramp))
    bits = (_eight(ramp) > 127).astype(np.uint8)
    two, four = (ramp >> 14).astype(np.uint8), (ramp >> 12).astype(np.uint8)
    packed_two = (
        two[:, 0::4] << 6 | two[:, 1::4] << 4 | two[:, 2::4] << 2 | two[:, 3::4]
    ).tobytes()
    packed_four = (four[:, 0::2] << 4 | four[:, 1::2]).tobytes()
    big, size = ramp.astype(">u2"), (WIDTH, HEIGHT)
    half = np.where(_alpha() == 0, 0, 65535).astype(np.uint16)
    with_alpha = _over_white(grey, (half >> 8).astype(np.uint8))
    see_through = ramp[0, 0]
    cut_out = np.where((ramp == see_through)[..., None], np.uint8(255), grey)
    return {
        "one_bit": PoisonImage(saved(Image.fromarray(bits * 255).convert("1")), _grey(bits * 255)),
        "two_bits": PoisonImage(png(*size, 2, 0, packed_two), _grey(two * 85)),
        "four_bits": PoisonImage(png(*size, 4, 0, packed_four), _grey(four * 17)),
        "grey": PoisonImage(saved(Image.fromarray(_eight(ramp))), grey),
        "sixteen_grey_png": PoisonImage(saved(Image.fromarray(ramp)), grey),
        "sixteen_grey_tiff": PoisonImage(saved(Image.fromarray(ramp), **tiff), grey),
        "sixteen_rgb_png": PoisonImage(
            png(*size, 16, 2, colours.astype(">u2").tobytes()), picture(1), off_by=1
        ),
        "sixteen_grey_alpha_png": PoisonImage(
            png(*size, 16, 4, np.stack([big, half], axis=-1).astype(">u2").tobytes()),
            with_alpha, off_by=1,
        ),
        "sixteen_grey_transparent_png": PoisonImage(
            png(*size, 16, 0, big.tobytes(), chunk(b"tRNS", struct.pack(">H", see_through))),
            cut_out, off_by=1,
        ),
        "thirty_two_bits_tiff": PoisonImage(
            saved(Image.fromarray(ramp.astype(np.int32) * 300), **tiff),
            reason=Reason.UNSUPPORTED_MODE,
        ),
        "floating_point_tiff": PoisonImage(
            saved(Image.fromarray(ramp.astype(np.float32)), **tiff), reason=Reason.UNSUPPORTED_MODE
        ),
    }  # fmt: skip


def colours() -> dict[str, PoisonImage]:
    """Return pictures in other colour spaces, with palettes, profiles and transparency."""
    rgb, alpha = picture(2), _alpha()
    image = Image.fromarray(rgb)
    cmyk = np.dstack([picture(3), picture(4)[..., 0] // 2])
    ink = 255 - cmyk.astype(float)
    shown = np.rint(ink[..., :3] * ink[..., 3:] / 255).astype(np.uint8)
    indices = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) // (28 * WIDTH)).astype(np.uint8)
    palette = Image.fromarray(indices, "L").convert("P")
    palette.putdata(indices.ravel().tolist())
    palette.putpalette([10, 20, 30, 200, 100, 50])
    flat = np.array([[10, 20, 30], [200, 100, 50]], np.uint8)[indices]
    hidden = np.where((indices == 0)[..., None], np.uint8(255), flat)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey = Image.fromarray(rgb[..., 0])
    lab = Image.new("LAB", (WIDTH, HEIGHT), (255, 128, 128))
    key = tuple(int(value) for value in rgb[0, 0])
    keyed = np.where((rgb == rgb[0, 0]).all(-1)[..., None], np.uint8(255), rgb)
    return {
        "cmyk_tiff": PoisonImage(saved(Image.fromarray(cmyk, "CMYK"), "TIFF"), shown, off_by=1),
        "cmyk_jpeg": PoisonImage(
            saved(Image.fromarray(cmyk, "CMYK"), "JPEG", quality=100), shown, off_by=6
        ),
        "ycbcr_tiff": PoisonImage(saved(image.convert("YCbCr"), "TIFF"), rgb, off_by=3),
        "lab_white_tiff": PoisonImage(saved(lab, "TIFF"), np.full_like(rgb, 255), off_by=2),
        "palette": PoisonImage(saved(palette), flat),
        "palette_transparent": PoisonImage(saved(palette, transparency=0), hidden),
        "palette_alpha": PoisonImage(
            saved(palette, transparency=b"\x00\x80"),
            _over_white(flat, np.where(indices == 0, 0, 128).astype(np.uint8)), off_by=1,
        ),
        "rgba": PoisonImage(
            saved(Image.fromarray(np.dstack([rgb, alpha]))), _over_white(rgb, alpha), off_by=1
        ),
        "grey_alpha": PoisonImage(
            saved(Image.merge("LA", (grey, Image.fromarray(alpha)))),
            _over_white(_grey(rgb[..., 0]), alpha), off_by=1,
        ),
        "colour_key": PoisonImage(saved(image, transparency=key), keyed),
        "colour_profile": PoisonImage(saved(image, icc_profile=profile), rgb),
        "broken_colour_profile": PoisonImage(saved(image, icc_profile=b"\xff" * 200), rgb),
    }  # fmt: skip


def frames() -> dict[str, PoisonImage]:
    """Return animations and files of several pages: the first frame is what counts."""
    first, second = (Image.fromarray(picture(seed)) for seed in (5, 6))
    more = {"save_all": True, "append_images": [second, first]}
    few = first.quantize(32)
    return {
        "animated_gif": PoisonImage(
            saved(few, "GIF", **{**more, "append_images": [second.quantize(32)]}), picture(5)
        ),
        "animated_webp": PoisonImage(saved(first, "WEBP", lossless=True, **more), picture(5)),
        "animated_png": PoisonImage(saved(first, "PNG", **more), picture(5)),
        "pages_tiff": PoisonImage(saved(first, "TIFF", **more), picture(5)),
        "pages_jpeg": PoisonImage(
            saved(first, "MPO", quality=100, subsampling=0, **more), picture(5), off_by=6
        ),
    }


_TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}
"""What a viewer does for each value of EXIF's Orientation (TIFF 6.0, tag 274)."""


def rotations() -> dict[str, PoisonImage]:
    """Return photographs that a camera held otherwise."""
    image, found = Image.fromarray(picture(7)), {}
    for value, turn in _TURNS.items():
        exif = Image.Exif()
        exif[0x0112] = value
        shown = np.ascontiguousarray(turn(picture(7)))
        for kind, options, off in (("JPEG", {"quality": 100, "subsampling": 0}, 6), ("PNG", {}, 0),
                                   ("WEBP", {"lossless": True}, 0), ("TIFF", {}, 0)):  # fmt: skip
            if kind != "TIFF" or value != 1:
                tags = exif if kind == "TIFF" else exif.tobytes()
                data = saved(image, kind, exif=tags, **options)
                found[f"turned_{value}_{kind.lower()}"] = PoisonImage(data, shown, off)
    return found


def damaged() -> dict[str, PoisonImage]:
    """Return files that hold no whole picture, or one that nobody should decode."""
    whole, photo = saved(Image.fromarray(picture(8))), saved(Image.fromarray(picture(8)), "JPEG")
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    noisy, flipped = saved(Image.fromarray(noise)), bytearray(saved(Image.fromarray(noise)))
    flipped[len(flipped) // 2] ^= 0xFF
    files: dict[str, tuple[bytes, Reason]] = {
        "empty": (b"", Reason.UNREADABLE),
        "text": (b"this is no picture", Reason.UNREADABLE),
        "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Reason.UNREADABLE),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n", Reason.UNREADABLE),
        "header_only": (whole[:24], Reason.UNREADABLE),
        "cut_png": (noisy[: len(noisy) // 2], Reason.TRUNCATED),
        "cut_jpeg": (photo[: len(photo) // 2], Reason.TRUNCATED),
        "flipped_png": (bytes(flipped), Reason.TRUNCATED),
        "no_pixels": (png(100, 100, 8, 2, b""), Reason.TRUNCATED),
        "claims_huge": (png(60_000, 60_000, 8, 2, b""), Reason.TOO_LARGE),
        "bomb": (png(16_000, 16_000, 1, 0, b"\0" * (2000 * 16_000)), Reason.TOO_LARGE),
        "text_bomb": (
            png(WIDTH, HEIGHT, 8, 2, picture().tobytes(),
                chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 80_000_000, 9))),
            Reason.UNREADABLE,
        ),
        "one_pixel": (saved(Image.new("RGB", (1, 1))), Reason.TOO_SMALL),
        "one_by_5000": (saved(Image.new("RGB", (5000, 1))), Reason.TOO_SMALL),
        "5000_by_one": (saved(Image.new("RGB", (1, 5000))), Reason.TOO_SMALL),
        "very_wide": (saved(Image.new("RGB", (5000, 12))), Reason.EXTREME_RATIO),
    }  # fmt: skip
    return {name: PoisonImage(data, reason=reason) for name, (data, reason) in files.items()}


def images() -> dict[str, PoisonImage]:
    """Return every file by name."""
    return depths() | colours() | frames() | rotations() | damaged()
