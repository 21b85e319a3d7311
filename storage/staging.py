"""The half-built artifact of one key: whole shards, and work in progress.

A shard is a directory that appears by one rename, with all its tables and files in it. So its
presence is its completeness, and no marker file can disagree with it.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.files import (
    atomic_write_text,
    fsync_dir,
    fsync_tree,
    link_or_copy,
    remove_tree,
    sha256_file,
    temporary_name,
)
from storage.identity import digest
from storage.tables import check_table_name, write_parquet

FILES = "files"
WORK = "work"
_RECORD = "shard.json"
_COMMITTING = ".committing"
_CHECKSUM = "checksum"
_SHARD = re.compile(r"shard-(\d{5,})")


@dataclass(frozen=True)
class Shard:
    """One whole shard in staging."""

    number: int
    directory: Path
    rows: dict[str, int]
    """Rows by table."""
    files: dict[str, int]
    """Bytes by path below `files/`."""
    sha256: dict[str, str]
    """Hash of every file by its path in the shard, taken when it was written."""
    info: dict[str, Any]
    """What the worker noted, such as its device or a pack that was split."""

    def table(self, name: str) -> Path:
        """Return the Parquet file of one table."""
        return self.directory / f"{name}.parquet"

    def is_whole(self) -> bool:
        """Say whether every file is there in full; Parquet footers are read."""
        try:
            rows = {name: _rows(self.table(name)) for name in self.rows}
            sizes = {path: (self.directory / FILES / path).stat().st_size for path in self.files}
        except (OSError, pa.ArrowInvalid):
            return False
        return rows == self.rows and sizes == self.files

    def changed_files(self, progress: Callable[[Path, int], None]) -> Iterator[str]:
        """Yield the files whose bytes are not those that were written; all are hashed."""
        for name, sha256 in self.sha256.items():
            path = self.directory / name
            progress(path, path.stat().st_size)
            if sha256_file(path) != sha256:
                yield name


class Staging:
    """The directory `staging/<stage>/<key>`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def create(self) -> Path:
        """Make the directory if need be and return it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        return self.directory

    def shard_path(self, number: int) -> Path:
        """Return where shard `number` lies once it is whole."""
        if number < 0:
            raise ValueError(f"shard must not be negative, got {number}")
        return self.directory / f"shard-{number:05d}"

    def numbers(self) -> list[int]:
        """Return the numbers of all shards that are there, whole or damaged."""
        matches = (_SHARD.fullmatch(path.name) for path in self._entries())
        return sorted(int(match[1]) for match in matches if match)

    def missing(self, numbers: Sequence[int]) -> list[int]:
        """Return those of `numbers` that are not there as whole shards."""
        return [number for number in numbers if self.read(number) is None]

    def read(self, number: int) -> Shard | None:
        """Return a whole shard, or None where it is missing or damaged."""
        directory = self.shard_path(number)
        try:
            record = json.loads((directory / _RECORD).read_text(encoding="utf-8"))
            checksum = record.pop(_CHECKSUM)
            shard = Shard(number, directory, **record)
        except (FileNotFoundError, ValueError, TypeError, AttributeError, KeyError):
            return None
        return shard if checksum == digest(record) and shard.is_whole() else None

    def write(
        self,
        number: int,
        tables: Mapping[str, pa.Table | Path],
        files: Mapping[str, Path],
        info: Mapping[str, Any],
    ) -> None:
        """Write a shard and make it visible by one rename; an equal number that is whole stays."""
        if not tables:
            raise ValueError(f"shard {number} has no table")
        temporary = self.create() / temporary_name("tmp")
        temporary.mkdir()
        try:
            _fill(temporary, tables, files, info)
            fsync_tree(temporary)
            self._publish(temporary, number)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _publish(self, temporary: Path, number: int) -> None:
        target = self.shard_path(number)
        try:
            os.rename(temporary, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if self.read(number) is not None:
                return
            remove_tree(target)
            os.rename(temporary, target)
        fsync_dir(self.directory)

    def announce_commit(self, target: Path) -> None:
        """Note which directory is about to be published from these shards."""
        atomic_write_text(self.directory / _COMMITTING, target.name)

    def announced_commit(self) -> str | None:
        """Return the name noted by `announce_commit`, or None."""
        note = self.directory / _COMMITTING
        return note.read_text(encoding="utf-8") if note.exists() else None

    def clean(self) -> None:
        """Remove what killed processes left behind; only for the holder of the key's lock."""
        for path in list(self._entries()):
            if path.name.startswith("."):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def discard(self) -> None:
        """Remove everything of this key, resumable work too."""
        remove_tree(self.directory)

    def _entries(self) -> Iterator[Path]:
        if self.directory.is_dir():
            yield from self.directory.iterdir()


def _fill(
    directory: Path,
    tables: Mapping[str, pa.Table | Path],
    files: Mapping[str, Path],
    info: Mapping[str, Any],
) -> None:
    for name, table in tables.items():
        target = directory / f"{check_table_name(name)}.parquet"
        if isinstance(table, Path):
            link_or_copy(table, target)
        else:
            write_parquet(table, target)
    for name, source in files.items():
        _copy(Path(source), directory / FILES / _relative(name))
    record = {
        "rows": {name: _rows(directory / f"{name}.parquet") for name in tables},
        "files": {path.as_posix(): size for path, size in _sizes(directory / FILES)},
        "sha256": {path.as_posix(): sha256_file(directory / path) for path, _ in _sizes(directory)},
        "info": dict(info),
    }
    text = json.dumps(record | {_CHECKSUM: digest(record)}, sort_keys=True, allow_nan=False)
    (directory / _RECORD).write_text(text, encoding="utf-8")


def _rows(path: Path) -> int:
    return pq.read_metadata(path).num_rows


def _relative(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts:
        raise ValueError(f"file name must be a relative path without '..', got {name!r}")
    return name


def _copy(source: Path, target: Path) -> None:
    """Copy a file, or a folder with all that is in it, such as a saved model."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def _sizes(root: Path) -> Iterator[tuple[Path, int]]:
    for path in sorted(root.rglob("*")) if root.is_dir() else ():
        if path.is_file():
            yield path.relative_to(root), path.stat().st_size
