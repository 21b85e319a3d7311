"""Where conversations come from: a JSON, JSONL or Parquet file, or a `datasets` folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pyarrow.parquet as pq

from mbpo_core.data.sources import iter_records, referenced_images
from storage.files import sha256_file

Record = dict[str, Any]


class SourceError(ValueError):
    """A source that cannot be read at all."""


def source_files(path: Path) -> list[Path]:
    """Return the files of a source, in order. Raises SourceError if there is none."""
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(path.glob("**/*.parquet")) or sorted(path.glob("**/*.arrow"))
        if files:
            return files
        raise SourceError(f"no .parquet or .arrow file in the folder {path}")
    raise SourceError(
        f"source not found: {path}; give an existing JSON, JSONL or Parquet file or a `datasets` "
        "folder with --source"
    )


@lru_cache(maxsize=2)
def load_records(path: Path) -> Sequence[Record]:
    """Return all records of a source; a JSONL line that is no JSON is a record that says so.

    Images inside of Parquet stay undecoded: `{bytes, path}`.
    """
    files = source_files(path)
    if files[0].suffix == ".parquet":
        return [row for file in files for row in pq.read_table(file).to_pylist()]
    if files[0].suffix == ".arrow":
        return list(_arrow_rows(files))
    return [record for _, record in iter_records(path)]


def _arrow_rows(files: Sequence[Path]) -> Iterator[Record]:
    """Read the files of `datasets.save_to_disk`, which are Arrow streams."""
    for file in files:
        with pyarrow.memory_map(str(file)) as source, pyarrow.ipc.open_stream(source) as stream:
            for batch in stream:
                yield from batch.to_pylist()


def fingerprint(path: Path, image_root: Path) -> str:
    """Return a hash of the source's bytes and of size and time of every image that it names.

    Size and time stand for the bytes of images here: reading 163,000 pictures to find out that
    nothing changed would cost more than it saves, and a new time with the same bytes only costs
    the ingest again, nothing after it.
    """
    digest = hashlib.sha256()
    for file in source_files(path):
        digest.update(sha256_file(file).encode())
    for name in sorted(set(referenced_images(load_records(path)))):
        try:
            stat = (image_root / name).stat()
        except OSError:
            digest.update(f"{name} missing\n".encode())
        else:
            digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
