"""The pictures of the page: few, small, and the same ones every time."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
from PIL import Image

from tasks.contact_sheet import difference
from tasks.report.sources import Row, Sources
from tasks.rows import fetch

QUALITY = 82
"""Of WebP."""
AT_ONCE = 32
"""Samples that are read together."""
_Decoded = tuple[str, Image.Image | None, Image.Image | None]


@dataclass(frozen=True)
class Pictures:
    """Small pictures by sample, and what was measured on the whole ones."""

    data: dict[str, list[str | None]]
    """Clean, negative and difference as base64 of WebP; None where there is no negative."""
    changes: list[float]
    """Mean absolute change of each pair of pictures, in [0, 1]."""


def pictures(sources: Sources, most: int, most_bytes: int, side: int) -> Pictures:
    """Return pictures of at most `most` samples and `most_bytes` bytes, `side` pixels wide or high.

    The first sample that would exceed the bytes is the end.
    """
    found = Pictures({}, [])
    if "mine" not in sources.refs or not sources.has("ingest", "samples"):
        return found
    rows = sources.rows("mine", "negatives", ("sample_id", "recovered", "reason"))
    left = most_bytes
    for name, one, other in _decoded(sources, which(rows, refused_later(sources), most)):
        small = _triple(one, other, side)
        left -= sum(len(data) for data in small if data)
        if left < 0:
            break
        found.data[name] = [base64.b64encode(data).decode() if data else None for data in small]
        if one is not None and other is not None:
            found.changes.append(_mean_change(one, other))
    return found


def _decoded(sources: Sources, names: Sequence[str]) -> Iterator[_Decoded]:
    """Yield samples with both pictures, some at a time: whole photographs are large."""
    for start in range(0, len(names), AT_ONCE):
        part = names[start : start + AT_ONCE]
        clean = fetch(sources.store, sources.refs["ingest"], "samples", part, ["image"])
        negative = fetch(sources.store, sources.refs["mine"], "negatives", part, ["image"])
        for name in part:
            yield name, _image(clean[name]), _image(negative[name])


def which(mined: Sequence[Row], refused: set[str], most: int) -> list[str]:
    """Return the samples that are shown: strongest, weakest, refused and random ones in turn.

    Random is the order of the ids, which are hashes.
    """
    ids = sorted(row["sample_id"] for row in mined)
    known = [row for row in mined if row["recovered"] is not None]
    ranked = [
        row["sample_id"]
        for row in sorted(known, key=lambda row: (row["recovered"], row["sample_id"]))
    ]
    failed = refused | {row["sample_id"] for row in mined if row["reason"]}
    sorts = (ranked[::-1], ranked, [name for name in ids if name in failed], ids)
    turns = chain.from_iterable(zip_longest(*sorts))
    return list(dict.fromkeys(name for name in turns if name is not None))[:most]


def refused_later(sources: Sources) -> set[str]:
    """Return the samples whose response was refused."""
    rows = sources.rows("respond", "responses", ("sample_id", "reason"))
    return {row["sample_id"] for row in rows if row["reason"] is not None}


def _image(row: Row) -> Image.Image | None:
    if not row["image"]:
        return None
    with Image.open(io.BytesIO(row["image"]["bytes"])) as png:
        return png.convert("RGB")


def _triple(
    one: Image.Image | None, other: Image.Image | None, side: int
) -> tuple[bytes | None, bytes | None, bytes | None]:
    clean = _small(one, side) if one is not None else None
    if one is None or other is None:
        return clean, None, None
    return clean, _small(other, side), _small(difference(one, other), side)


def _small(image: Image.Image, side: int) -> bytes:
    copy = image.copy()
    copy.thumbnail((side, side), Image.Resampling.BOX)
    written = io.BytesIO()
    copy.save(written, format="WEBP", quality=QUALITY, method=4)
    return written.getvalue()


def _mean_change(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one).astype(int) - np.asarray(other)).mean() / 255)
