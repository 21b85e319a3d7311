"""What a source is: its content's hash, how many records it has, which pictures it names.

All of it takes a reading of every record, so it is remembered in the store's folder `cache`, by
size and time of the source's files and by the code that reads them. Deleted, it is made again.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from mbpo_core.data.sources import ImageRoot, referenced_images
from storage.codehash import code_closure
from storage.files import atomic_write_text, sha256_file
from storage.identity import digest
from tasks.sources import States, file_states, load_records, source_files, states

_SETTLED_SECONDS = 2.0
"""A file as young as this may change again without a new time: clocks of file systems are coarse.
"""


def count_records(path: Path, root: Path) -> int:
    """Return how many records a source has. Raises SourceError if it cannot be read."""
    return _count(path, root, states(path))


@lru_cache(maxsize=4)
def _count(path: Path, root: Path, state: States) -> int:
    return _facts(path, root)["records"]


def fingerprint(path: Path, image_root: ImageRoot, root: Path) -> str:
    """Return a hash of the source's bytes and of size and time of every image that it names.

    Size and time stand for the bytes of images here: reading 163,000 pictures to find out that
    nothing changed would cost more than it saves, and a new time with the same bytes only costs
    the ingest again, nothing after it.
    """
    facts = _facts(path, root)
    found = hashlib.sha256()
    for content in facts["files"]:
        found.update(content.encode())
    names = facts["images"]
    for name, state in zip(names, file_states(names, image_root), strict=True):
        found.update(f"{name} {state}\n".encode())
    return found.hexdigest()


def _facts(path: Path, root: Path) -> dict[str, Any]:
    files, state = source_files(path), states(path)
    code = code_closure("tasks.sources", ("mbpo_core", "tasks"))
    kept = root / "cache" / "sources" / f"{digest([state, code])[:24]}.json"
    with suppress(FileNotFoundError, ValueError):  # not made yet, or damaged
        return json.loads(kept.read_text(encoding="utf-8"))
    records = load_records(path)
    facts = {
        "files": [sha256_file(file) for file in files],
        "records": len(records),
        "images": sorted(set(referenced_images(records))),
    }
    if all(time.time() - file.stat().st_mtime > _SETTLED_SECONDS for file in files):
        atomic_write_text(kept, json.dumps(facts))
    return facts
