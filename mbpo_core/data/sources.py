"""Records and images of a source on disk; what a record says is read in `conversations`."""

import json
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbpo_core.data.conversations import RawSample, read_turns
from mbpo_core.records import Reason, Refusal

LINE_SUFFIXES = (".jsonl", ".ndjson")
_MAX_DIGITS = 4000
_MAX_BYTES = 1 << 30
"""No picture has a file of a gibibyte; reading one would take the memory of its neighbours."""


def iter_records(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (index, record) of a JSON or JSONL file.

    A `.json` file holds a list of records, or one record, or is JSONL after all. In JSONL the index
    is that of the line; empty lines have none. A line that is no JSON is yielded as a `Refusal`,
    which `read_turns` takes like a record.

    Raises:
        ValueError: another suffix, or a `.json` file that cannot be parsed.
        OSError: the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in LINE_SUFFIXES:
        yield from _lines(path)
    elif suffix == ".json":
        yield from _whole(path)
    else:
        raise ValueError(f"expected a .json or {' or '.join(LINE_SUFFIXES)} file, got {path.name}")


def referenced_images(records: Iterable[Any]) -> Iterator[str]:
    """Yield the path, as written, of each turn that has one; images given as bytes have none."""
    for record in records:
        for turn in read_turns(record):
            if isinstance(turn, RawSample) and isinstance(turn.image, str):
                yield turn.image


@dataclass(frozen=True)
class LinkedFolder:
    """A folder of images whose symbolic links may lead out of it: put together by its owner."""

    path: Path


ImageRoot = Path | LinkedFolder
"""Folder that image names are relative to."""


def image_path(reference: str, root: ImageRoot) -> Path | Refusal:
    """Return the file that a reference names.

    Paths are relative to `root`; an absolute path must lie inside of it, as written and after
    symbolic links are followed. Only in a `LinkedFolder` may links lead anywhere. Addresses are
    not fetched.
    """
    if "\0" in reference:
        return Refusal(Reason.MISSING_FILE, "the path holds a null character")
    inside = os.path.abspath(root.path if isinstance(root, LinkedFolder) else root)
    target = os.path.abspath(os.path.join(inside, reference))
    if os.path.commonpath([inside, target]) != inside:
        return Refusal(Reason.OUTSIDE_ROOT, reference)
    if not isinstance(root, LinkedFolder) and _leads_out(target, inside):
        return Refusal(Reason.OUTSIDE_ROOT, f"{reference}: a link leads out of the folder")
    return Path(target)


def _leads_out(target: str, inside: str) -> bool:
    inside = os.path.realpath(inside)
    return os.path.commonpath([inside, os.path.realpath(target)]) != inside


def read_image(reference: str | bytes, root: ImageRoot) -> bytes | Refusal:
    """Return the bytes of an image: those given, or those of the file that is named."""
    if isinstance(reference, bytes):
        return reference
    path = image_path(reference, root)
    if isinstance(path, Refusal):
        return path
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            return Refusal(Reason.MISSING_FILE, f"{reference}: not a regular file")
        if found.st_size > _MAX_BYTES:
            return Refusal(Reason.TOO_LARGE, f"{reference}: {found.st_size} bytes")
        return path.read_bytes()
    except OSError as error:
        # Not the error's own text: it holds the absolute path, and rows must not depend on that.
        return Refusal(Reason.MISSING_FILE, f"{reference}: {error.strerror}")


def image_size(reference: str | bytes, root: ImageRoot) -> int | None:
    """Return how many bytes `read_image` would give; None if it would refuse."""
    if isinstance(reference, bytes):
        return len(reference)
    path = image_path(reference, root)
    if isinstance(path, Refusal):
        return None
    try:
        return path.stat().st_size
    except OSError:
        return None


def _whole(path: Path) -> Iterator[tuple[int, Any]]:
    data = path.read_bytes()
    try:
        records = parse_json(data)
    except (ValueError, RecursionError) as error:
        if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and b"\n" in data.strip():
            yield from _lines(path)
            return
        raise ValueError(f"{path.name} is no JSON: {error}") from error
    yield from enumerate(records if isinstance(records, list) else [records])


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as file:
        for index, line in enumerate(file):
            if line.strip():
                yield index, line_record(line, index)


def line_record(line: bytes, index: int) -> Any:
    """Return the record of a JSONL line, a `Refusal` where it is no JSON."""
    try:
        return parse_json(line)
    except (ValueError, RecursionError) as error:
        detail = f"line {index + 1} is no JSON: {error}"[:200]
        return Refusal(Reason.MALFORMED_RECORD, detail)


def parse_json(data: bytes) -> Any:
    """Return the JSON value of a file or line.

    A byte that is no UTF-8 becomes half of a surrogate pair: the record that holds it is refused,
    and not the whole file.
    """
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    return json.loads(text, parse_int=integer)


def integer(digits: str) -> int | float:
    """Return a number; Python reads no integers of more than 4300 digits."""
    return int(digits) if len(digits) < _MAX_DIGITS else float(digits)
