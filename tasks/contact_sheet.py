"""A contact sheet: a row of pictures with words beside them for each sample."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAIN = 8
"""How much a difference is enlarged; a change of 32 grey levels or more is shown as 255."""
HEADS = ("clean", "negative", f"difference x{GAIN}", "question and responses")

Box = tuple[int, int, int, int]
Style = Literal["plain", "faint", "good", "bad"]
_INK: dict[Style, str] = {
    "plain": "#111111", "faint": "#666666", "good": "#05661b", "bad": "#a31515"
}  # fmt: skip
_BOX_INKS = ("#ff00c8", "#00a5ff", "#ff8800", "#35c200", "#8f4bff")
_ENLARGED, _LARGEST = 168, 336
"""Longest side in pixels: small pictures are enlarged up to the first, others reduced to the
second."""
_MARGIN, _GAP, _WORDS = 12, 10, 460
_LINE, _TITLE_LINE = 17, 26
_TAG_STEP = 11
_LINES = 9
"""Lines of one text; the rest is cut off, which three dots say."""
_CHARACTERS = 2000


@dataclass(frozen=True)
class SheetRow:
    """What the sheet shows of one sample."""

    clean: Image.Image
    """RGB."""
    negative: Image.Image | None
    """RGB at the size of the clean one; None where there is none."""
    missing: str = ""
    """Why there is no negative image."""
    boxes: tuple[Box, ...] = ()
    """(left, top, right, bottom) on the clean image, ends exclusive; numbered from 1."""
    texts: tuple[tuple[Style, str], ...] = ()
    """From top to bottom."""


def contact_sheet(title: str, rows: Sequence[SheetRow]) -> Image.Image:
    """Draw the sheet: clean, negative, their difference x8, and the texts, a row per sample."""
    shown = [_panels(row) for row in rows]
    width = max(panel.width for panels in shown for panel in panels)
    texts = [_text_lines(row) for row in rows]
    heights = [
        max(panels[0].height, _LINE * len(lines))
        for panels, lines in zip(shown, texts, strict=True)
    ]
    columns = [_MARGIN + i * (width + _GAP) for i in range(4)]
    top = 2 * _MARGIN + _TITLE_LINE + _LINE
    size = (columns[3] + _WORDS + _MARGIN, top + sum(heights) + 2 * _GAP * len(rows))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    draw.text(
        (_MARGIN, _MARGIN),
        _fitting(title, _font(17), size[0] - 2 * _MARGIN),
        _INK["plain"],
        _font(17),
    )
    for left, head in zip(columns, HEADS, strict=True):
        draw.text((left, _MARGIN + _TITLE_LINE), head, _INK["faint"], _font(13))
    for panels, lines, height in zip(shown, texts, heights, strict=True):
        draw.line((_MARGIN, top, size[0] - _MARGIN, top), "#cccccc")
        top += _GAP
        for left, panel in zip(columns, panels, strict=False):
            sheet.paste(panel, (left, top))
        for number, (style, line) in enumerate(lines):
            draw.text((columns[3], top + _LINE * number), line, _INK[style], _font(13))
        top += height + _GAP
    return sheet


def difference(clean: Image.Image, negative: Image.Image) -> Image.Image:
    """Return |clean - negative| x8 for each channel, cut off at 255."""
    change = np.asarray(clean).astype(int) - np.asarray(negative)
    return Image.fromarray(np.minimum(GAIN * np.abs(change), 255).astype(np.uint8))


def scaled(image: Image.Image) -> Image.Image:
    """Return an image at a size to look at: each pixel a square of whole pixels, or reduced."""
    longest = max(image.size)
    times = max(1, _ENLARGED // longest)
    if times > 1:
        size = (image.width * times, image.height * times)
        return image.resize(size, Image.Resampling.NEAREST)
    if longest <= _LARGEST:
        return image
    size = tuple(max(1, round(side * _LARGEST / longest)) for side in image.size)
    return image.resize(size, Image.Resampling.BOX)


def _panels(row: SheetRow) -> list[Image.Image]:
    clean = scaled(row.clean)
    if row.negative is None:
        missing = _without_picture(clean.size, row.missing)
        return [_with_boxes(clean, row), missing, _without_picture(clean.size, "")]
    change = scaled(difference(row.clean, row.negative))
    return [_with_boxes(clean, row), scaled(row.negative), change]


def _with_boxes(clean: Image.Image, row: SheetRow) -> Image.Image:
    panel = clean.copy()
    draw, font = ImageDraw.Draw(panel), _font(12)
    across, down = panel.width / row.clean.width, panel.height / row.clean.height
    tags: list[tuple[int, int]] = []
    for number, (left, top, right, bottom) in enumerate(row.boxes):
        ink = _BOX_INKS[number % len(_BOX_INKS)]
        corner = (round(left * across), round(top * down))
        opposite = (round(right * across) - 1, round(bottom * down) - 1)
        # A region of less than a pixel of a reduced picture is still a dot.
        opposite = (max(opposite[0], corner[0]), max(opposite[1], corner[1]))
        draw.rectangle((*corner, *opposite), outline=ink, width=2)
        tag = (min(corner[0] + 2, panel.width - 11), min(corner[1] + 2, panel.height - 15))
        tags.append(tag := _free(tag, tags, panel.width))
        draw.rectangle((*tag, tag[0] + 9, tag[1] + 13), fill=ink)
        draw.text((tag[0] + 1, tag[1]), str(number + 1), "white", font)
    return panel


def _free(tag: tuple[int, int], taken: Sequence[tuple[int, int]], width: int) -> tuple[int, int]:
    """Move the number of a box aside, to the right and back, until it hides no other one."""
    left, top = tag
    places = [*range(left, width - 10, _TAG_STEP), *range(left - _TAG_STEP, -1, -_TAG_STEP)]
    free = (x for x in places
            if all(abs(x - a) >= 10 or abs(top - b) >= 14 for a, b in taken))  # fmt: skip
    return next(free, left), top


def _without_picture(size: tuple[int, int], reason: str) -> Image.Image:
    panel = Image.new("RGB", size, "#eeeeee")
    draw, font = ImageDraw.Draw(panel), _font(13)
    lines = wrapped(reason, font, size[0] - 8, max(1, (size[1] - 8) // _LINE))
    for number, line in enumerate(lines):
        draw.text((4, 4 + _LINE * number), line, _INK["bad"], font)
    return panel


def _text_lines(row: SheetRow) -> list[tuple[Style, str]]:
    font = _font(13)
    return [
        (style, line) for style, text in row.texts for line in wrapped(text, font, _WORDS, _LINES)
    ]


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: int, most: int) -> list[str]:
    """Return `text` as at most `most` lines that are no wider than `width` pixels.

    A word that is too wide is broken; what is cut off is marked by three dots.
    """
    lines: list[str] = []
    for paragraph in text[:_CHARACTERS].splitlines():
        line = ""
        parts = (_parts(word, font, width) for word in paragraph.split())
        for word in chain.from_iterable(parts):
            joined = f"{line} {word}" if line else word
            if line and font.getlength(joined) > width:
                lines.append(line)
                joined = word
            line = joined
        lines.append(line)
    if len(lines) > most or len(text) > _CHARACTERS:
        lines = lines[:most]
        lines[-1] = _fitting(lines[-1] + " ...", font, width)
    return lines


def _parts(word: str, font: ImageFont.FreeTypeFont, width: int) -> Iterator[str]:
    """Yield a word in parts that fit (one letter at least); the whole word if it does."""
    while word:
        count = _count_that_fits(word, font, width)
        yield word[:count]
        word = word[count:]


def _count_that_fits(word: str, font: ImageFont.FreeTypeFont, width: int) -> int:
    counts = range(1, len(word) + 1)
    return max(1, bisect_right(counts, width, key=lambda count: font.getlength(word[:count])))


def _fitting(line: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Return a line, cut off before three dots if it is too wide."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line.rstrip() + "...") > width:
        line = line[:-1]
    return line.rstrip() + "..."


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size)
