import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from mbpo_core.data.images import (
    ImagePolicy,
    PreparedImage,
    decode_png,
    encode_png,
    image_id,
    prepare_image,
    target_size,
)
from mbpo_core.records import Reason, Refusal

POLICY = ImagePolicy(
    factor=28, min_pixels=4 * 784, max_pixels=64 * 784, max_source_pixels=1_000_000
)
PROCESSOR = Qwen2VLImageProcessorPil(
    size={"shortest_edge": POLICY.min_pixels, "longest_edge": POLICY.max_pixels}
)


def noise(height, width, channels=3, seed=0):
    draw = np.random.default_rng(seed)
    shape = (height, width, channels) if channels > 1 else (height, width)
    return draw.integers(0, 256, shape, dtype=np.uint8)


def saved(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def prepared(data, policy=POLICY):
    found = prepare_image(data, policy)
    assert isinstance(found, PreparedImage), found
    return found


def pixels_of(image, kind="PNG", **options):
    return decode_png(prepared(saved(image, kind, **options)).png)


@settings(max_examples=40, deadline=None)
@given(st.integers(10, 400), st.integers(10, 400), st.integers(0, 9))
def test_the_processor_sees_the_same_before_and_after_and_resizes_nothing(height, width, seed):
    raw = Image.fromarray(noise(height, width, seed=seed))
    stored = prepared(saved(raw))
    again = Image.fromarray(decode_png(stored.png))
    before = PROCESSOR(raw, return_tensors="np")
    after = PROCESSOR(again, return_tensors="np")
    unresized = PROCESSOR(again, return_tensors="np", do_resize=False)
    np.testing.assert_array_equal(before["pixel_values"], after["pixel_values"])
    np.testing.assert_array_equal(unresized["pixel_values"], after["pixel_values"])
    np.testing.assert_array_equal(after["image_grid_thw"], [[1, again.height // 14,
                                                             again.width // 14]])  # fmt: skip


def test_transparency_is_seen_as_the_processor_sees_it():
    raw = Image.fromarray(noise(90, 120, 4))
    stored = Image.fromarray(decode_png(prepared(saved(raw)).png))
    np.testing.assert_array_equal(
        PROCESSOR(raw, return_tensors="np")["pixel_values"],
        PROCESSOR(stored, return_tensors="np")["pixel_values"],
    )


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000))
def test_any_target_within_the_bounds_stays(height, width):
    if max(height, width) / min(height, width) > 200:
        with pytest.raises(ValueError, match="aspect ratio"):
            target_size(height, width, POLICY)
        return
    found = target_size(height, width, POLICY)
    assert found[0] % 28 == found[1] % 28 == 0
    if found[0] * found[1] <= POLICY.max_pixels:
        assert target_size(*found, POLICY) == found


def test_a_size_that_would_be_resized_again_is_refused():
    # At 1:200 the short side cannot go below one factor, so the area stays over max_pixels.
    found = prepare_image(saved(Image.new("RGB", (5600, 28))), POLICY)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.NOT_FIXED_POINT


def test_storing_is_lossless_repeatable_and_without_metadata():
    pixels = noise(56, 84)
    data = encode_png(pixels)
    np.testing.assert_array_equal(decode_png(data), pixels)
    assert data == encode_png(Image.fromarray(pixels)) == encode_png(pixels.copy())
    with Image.open(io.BytesIO(data)) as image:
        assert (image.info, image.format, image.mode) == ({}, "PNG", "RGB")
    assert prepared(data).png == data


def test_the_id_is_that_of_the_pixels_however_they_are_compressed():
    image = Image.fromarray(noise(56, 84))
    first = prepared(saved(image, "PNG", compress_level=1))
    second = prepared(saved(image, "BMP"))
    assert first == second
    assert first.image_id == image_id(decode_png(first.png))
    assert image_id(np.zeros((28, 56, 3), np.uint8)) != image_id(np.zeros((56, 28, 3), np.uint8))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "GIF"])
def test_formats(kind):
    assert pixels_of(Image.fromarray(noise(56, 84)), kind).shape == (56, 84, 3)


def test_rotation_is_applied():
    array = np.zeros((56, 84, 3), np.uint8)
    array[:, :42] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: left becomes top
    turned = pixels_of(Image.fromarray(array), "PNG", exif=exif)
    np.testing.assert_array_equal(turned, np.rot90(array, -1))


def test_alpha_lies_over_white():
    array = np.zeros((56, 56, 4), np.uint8)
    array[..., 0] = 200
    array[:, :28, 3] = 255
    array[:, 28:, 3] = 0
    found = pixels_of(Image.fromarray(array))
    assert (found[:, :28] == (200, 0, 0)).all()
    assert (found[:, 28:] == 255).all()


def test_grey_with_alpha_and_transparent_palette_lie_over_white():
    grey = np.full((56, 56), 100, np.uint8)
    alpha = np.zeros((56, 56), np.uint8)
    alpha[:28] = 255
    found = pixels_of(Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha))))
    assert (found[:28] == 100).all() and (found[28:] == 255).all()
    palette = Image.fromarray(alpha // 255).convert("P")
    palette.putpalette([9, 8, 7, 50, 60, 70])
    found = pixels_of(palette, transparency=0)
    assert (found[:28] == (50, 60, 70)).all() and (found[28:] == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "RGB"])
def test_modes_become_rgb(mode):
    white = Image.new("RGB", (56, 56), (255, 255, 255))
    source = Image.new("LAB", (56, 56), (255, 128, 128)) if mode == "LAB" else white.convert(mode)
    kind = "TIFF" if mode in ("CMYK", "YCbCr", "LAB") else "PNG"
    assert pixels_of(source, kind).min() >= 250


def test_sixteen_bits_are_scaled_not_clipped():
    values = np.zeros((56, 84), np.uint16)
    values[:, :28], values[:, 28:56], values[:, 56:] = 65535, 32768, 300
    found = pixels_of(Image.fromarray(values))
    assert [int(found[0, x, 0]) for x in (0, 30, 60)] == [255, 128, 1]


def test_pixels_without_a_scale_are_refused():
    for array in (np.zeros((56, 56), np.float32), np.full((56, 56), 70_000, np.int32)):
        found = prepare_image(saved(Image.fromarray(array), "TIFF"), POLICY)
        assert isinstance(found, Refusal) and found.reason is Reason.UNSUPPORTED_MODE


def png_header(width, height):
    """A PNG that says how large it is and ends there."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


WHOLE = saved(Image.fromarray(noise(100, 100)))
PHOTO = saved(Image.fromarray(noise(100, 100)), "JPEG")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.UNREADABLE),
        (b"not an image", Reason.UNREADABLE),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Reason.UNREADABLE),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n", Reason.UNREADABLE),
        (WHOLE[:20], Reason.UNREADABLE),
        (WHOLE[:5000], Reason.TRUNCATED),
        (PHOTO[: len(PHOTO) // 2], Reason.TRUNCATED),
        (png_header(1001, 1000), Reason.TOO_LARGE),
        (png_header(10_000, 10_000), Reason.TOO_LARGE),  # Pillow would warn
        (png_header(60_000, 60_000), Reason.TOO_LARGE),  # Pillow would raise
        (png_header(9, 100), Reason.TOO_SMALL),
        (png_header(20_100, 10), Reason.EXTREME_RATIO),
        (png_header(100, 100), Reason.TRUNCATED),
    ],
)
def test_bad_bytes_are_refused_with_a_reason(data, reason):
    found = prepare_image(data, POLICY)
    assert isinstance(found, Refusal)
    assert found.reason is reason, found
    assert found == prepare_image(data, POLICY)


def test_an_image_at_the_bound_is_taken():
    policy = ImagePolicy(28, 784, 16 * 784, max_source_pixels=10_000)
    assert prepared(WHOLE, policy).png
    policy = ImagePolicy(28, 784, 16 * 784, max_source_pixels=9_999)
    assert prepare_image(WHOLE, policy).reason is Reason.TOO_LARGE


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([WHOLE, PHOTO]),
    st.lists(st.tuples(st.integers(0, 600), st.binary(max_size=4)), max_size=6),
)
@pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged metadata; here rows matter
def test_damaged_bytes_never_raise(data, changes):
    damaged = bytearray(data)
    for position, new in changes:
        damaged[position : position + len(new)] = new
    found = prepare_image(bytes(damaged), POLICY)
    if isinstance(found, PreparedImage):
        assert decode_png(found.png).shape == (found.height, found.width, 3)
    else:
        assert isinstance(found.reason, Reason)


@pytest.mark.parametrize(
    "bounds",
    [
        (0, 1, 784, 10), (28, 0, 784, 10), (28, 1000, 784, 10), (28, 1, 783, 10), (28, 784, 784, 0),
    ],
)  # fmt: skip
def test_bounds_that_contradict_are_errors(bounds):
    with pytest.raises(ValueError, match=r"expected|at least"):
        ImagePolicy(*bounds)


@pytest.mark.parametrize(
    "array", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3))]
)
def test_only_rgb_bytes_are_stored(array):
    with pytest.raises(ValueError, match="expected uint8"):
        encode_png(array)


@pytest.mark.parametrize("data", [b"", PHOTO, WHOLE[:5000], saved(Image.new("L", (28, 28)))])
def test_only_stored_images_are_read_back(data):
    with pytest.raises(ValueError, match="stored image"):
        decode_png(data)


def test_real_photographs(shared_data):
    paths = sorted((shared_data / "real").glob("*/images/*"))
    assert len(paths) > 150
    policy = ImagePolicy(28, 4 * 784, 32 * 784, 178_956_970)
    for path in paths[::8]:
        found = prepared(path.read_bytes(), policy)
        assert policy.min_pixels <= found.height * found.width <= policy.max_pixels
