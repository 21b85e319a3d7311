"""A source as large as the paper's: every record has a picture file of its own name.

The pictures are few and small, so that they fit a disk: names are hard links to some thousand
distinct JPEG files. What a run does with a name (look, read, decode, store) does not know that.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SMALL, LARGE = 84, 224
"""Sides in pixels: 9 and 64 visual tokens."""
LARGE_EVERY = 8
"""One picture in so many is large; the stub finds those informative, so they are mined."""
CLOSED_EVERY = 5
"""One record in so many is a yes/no question (assumed: the paper's share is not printed)."""
FOLDER = 1000
"""Names of one folder."""
_TEXT = (
    "the a of in on and with near behind under left right red blue green wooden small large round "
    "table chair window street person dog cup tree sign wall light holding standing looking which "
    "because shows several people picture suggests that there are no other objects visible"
)
_WORDS = _TEXT.split()


def write_pictures(folder: Path, distinct: int, names: int) -> Path:
    """Write `distinct` pictures and `names` links to them; return the folder of the names.

    A folder that is there already gets only what it lacks.
    """
    originals = folder / "originals"
    originals.mkdir(parents=True, exist_ok=True)
    for number in range(distinct):
        path = originals / f"{number}.jpg"
        if not path.exists():
            path.write_bytes(picture(number))
    for index in range(names):
        link = folder / name_of(index)
        if index % FOLDER == 0:
            link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            os.link(originals / f"{index % distinct}.jpg", link)
    return folder


def name_of(index: int) -> str:
    """Return the picture's name in record `index`."""
    return f"images/{index // FOLDER:03d}/{index:06d}.jpg"


def picture(number: int) -> bytes:
    """Return a JPEG of smooth colours."""
    draw = np.random.default_rng(number)
    side = SMALL if number % LARGE_EVERY else LARGE
    coarse = Image.fromarray(draw.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    stream = io.BytesIO()
    coarse.resize((side, side), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=75)
    return stream.getvalue()


def write_records(path: Path, count: int) -> Path:
    """Write a LLaVA-style JSON list of `count` records, one after the other."""
    with path.open("w", encoding="utf-8") as file:
        for index, record in enumerate(records(count)):
            file.write("[" if index == 0 else ",\n")
            file.write(json.dumps(record))
        file.write("]\n")
    return path


def records(count: int) -> Iterator[dict[str, Any]]:
    """Yield records: four in five open-ended with an answer of 40 to 120 words."""
    draw = np.random.default_rng(0)
    for index in range(count):
        if index % CLOSED_EVERY == 0:
            question = f"Is there a {_words(draw, 2)} in picture {index}? Answer yes or no."
            answer = ("Yes", "No")[index // CLOSED_EVERY % 2]
        else:
            question = f"What does picture {index} tell about {_words(draw, 6)}?"
            answer = f"{_words(draw, int(draw.integers(40, 121)))}."
        yield {
            "id": f"{index:06d}",
            "image": name_of(index),
            "conversations": [
                {"from": "human", "value": f"<image>\n{question}"},
                {"from": "gpt", "value": answer},
            ],
        }


def _words(draw: np.random.Generator, count: int) -> str:
    return " ".join(_WORDS[word] for word in draw.integers(0, len(_WORDS), count))
