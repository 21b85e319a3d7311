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

    Raises:
        BenchmarkError: something that looks like base64 and is none.
    """
    rows = {str(r["index"]): r.get("image") for r in records if "index" in r}
    found = []
    for record in records:
        image = record.get("image")
        if isinstance(image, str) and len(image) <= _REFERENCE_LENGTH:
            image = rows.get(image) or image
        elif isinstance(image, int):
            image = rows.get(str(image))
        found.append(_picture(image) or _path(record))
    return found


def picture_name(record: Mapping[str, Any], picture: str | bytes | None) -> str:
    """Return what the picture is called in every release that names it, else a hash of its bytes.

    "" where there is no picture.
    """
    path = _path(record)
    if path is None and isinstance(record.get("image"), dict):
        path = record["image"].get("path")
    if path is None and isinstance(picture, str):
        path = picture
    if path:
        return same_image(path)
    return hashlib.sha256(picture).hexdigest()[:16] if isinstance(picture, bytes) else ""


def _path(record: Mapping[str, Any]) -> str | None:
    path = record.get("image_path")
    return path if isinstance(path, str) and path else None


def _picture(image: Any) -> str | bytes | None:
    if isinstance(image, dict):
        return image.get("bytes") or image.get("path")
    if isinstance(image, str) and len(image) > _REFERENCE_LENGTH and _BASE64.fullmatch(image):
        try:
            return base64.b64decode(image)
        except binascii.Error as error:
            raise BenchmarkError(f"no base64 picture: {image[:40]!r}...") from error
    return image if isinstance(image, str | bytes) and image else None
