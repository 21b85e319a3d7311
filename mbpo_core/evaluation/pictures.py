"""Pictures as published question files hold them: paths, base64, Parquet's bytes, references."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mbpo_core.evaluation.join import same_image
from mbpo_core.evaluation.protocol import BenchmarkError

_REFERENCE_LENGTH = 64
"""VLMEvalKit: a shorter text in the image column is the index of the row that has the picture."""
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+=*\s*")


def pictures(records: Sequence[Mapping[str, Any]]) -> list[str | bytes | None]:
    """Return each record's picture: bytes of an image file, a path, or None where it has none.

    A TSV row may name the index of another row, whose picture it shares (VLMEvalKit).

    Raises:
        BenchmarkError: something that looks like base64 and is none.
    """
    rows = {str(r["index"]): r for r in records if "index" in r}
    found = []
    for record in records:
        image = record.get("image")
        picture = picture_of(record)
        if isinstance(image, int) or (isinstance(image, str) and len(image) <= _REFERENCE_LENGTH):
            shared = rows.get(str(image).removesuffix(".0"))
            if shared is not None and isinstance(inside := picture_of(shared), bytes):
                picture = inside
        found.append(picture)
    return found


def picture_of(record: Mapping[str, Any]) -> str | bytes | None:
    """Return a record's own picture, or the path under which it keeps one."""
    image = record.get("image")
    if isinstance(image, Mapping):
        found = image.get("bytes") or image.get("path")
    elif isinstance(image, str) and len(image) > _REFERENCE_LENGTH and _BASE64.fullmatch(image):
        try:
            found = base64.b64decode(image)
        except binascii.Error as error:
            raise BenchmarkError(f"no base64 picture: {image[:40]!r}...") from error
    else:
        found = image if isinstance(image, str | bytes) else None
    return found or _path(record)


def picture_name(record: Mapping[str, Any], picture: str | bytes | None) -> str:
    """Return what the picture is called in every release that names it, else a hash of its bytes.

    "" where there is no picture.
    """
    path = _path(record)
    if path is None and isinstance(record.get("image"), Mapping):
        path = record["image"].get("path")
    if path is None and isinstance(picture, str):
        path = picture
    if path:
        return same_image(path)
    return hashlib.sha256(picture).hexdigest()[:16] if isinstance(picture, bytes) else ""


def name_of(record: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the first file name among some fields and the path of `image`; "" where none is."""
    image = record.get("image")
    path = image.get("path") if isinstance(image, Mapping) else image
    for value in (*(record.get(name) for name in names), path):
        if isinstance(value, str) and value and not _BASE64.fullmatch(value[_REFERENCE_LENGTH:]):
            return value
    return ""


def _path(record: Mapping[str, Any]) -> str | None:
    path = record.get("image_path")
    return path if isinstance(path, str) and path else None
