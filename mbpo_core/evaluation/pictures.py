"""The picture of a question, however a release holds it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

_SHORTEST = 64
"""Characters; VLMEvalKit takes a shorter `image` for the index of the row that has the picture."""


def pictures(records: Sequence[Mapping[str, Any]]) -> list[str | bytes | None]:
    """Return each record's picture: bytes of Parquet or base64, else the path it names.

    A TSV row may name the index of another row, whose picture it shares (VLMEvalKit).
    """
    by_index = {str(r["index"]): r for r in records if "index" in r}
    found = []
    for record in records:
        picture = picture_of(record)
        shared = by_index.get(str(record.get("image")).removesuffix(".0"))
        if shared is not None and isinstance(inside := picture_of(shared), bytes):
            picture = inside
        found.append(picture)
    return found


def picture_of(record: Mapping[str, Any]) -> str | bytes | None:
    """Return a record's own picture, or the path under which it keeps one."""
    image = record.get("image")
    if isinstance(image, Mapping):
        return image.get("bytes") or image.get("path")
    if isinstance(image, bytes):
        return image
    if isinstance(image, str) and len(image) >= _SHORTEST:
        try:
            return base64.b64decode(image, validate=True)
        except binascii.Error:
            return image
    return image if isinstance(image, str) and image else None


def name_of(record: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the first file name among some fields and the path of `image`; "" where none is."""
    image = record.get("image")
    path = image.get("path") if isinstance(image, Mapping) else image
    for value in (*(record.get(name) for name in names), path):
        if isinstance(value, str) and 0 < len(value) < 4 * _SHORTEST:
            return value
    return ""
