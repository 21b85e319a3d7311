"""Where conversations come from: a JSON, JSONL or Parquet file, or a `datasets` folder."""

from __future__ import annotations

import os
import stat
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from mbpo_core.data.json_records import open_records
from mbpo_core.data.sources import ImageRoot, LinkedFolder, image_path
from mbpo_core.records import Reason, Refusal

Record = dict[str, Any] | Refusal
"""A record, or why there is none in its place; `read_turns` takes both."""
States = tuple[tuple[str, int, int, int], ...]


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


class ParquetRecords(Sequence[Record]):
    """The rows of Parquet files as records, read a row group at a time: images stay on disk."""

    def __init__(self, files: Sequence[Path], rows: range | None = None) -> None:
        self._files = tuple(files)
        self._groups: list[tuple[Path, int]] = []
        self._starts = [0]
        for file in files:
            with _said_clearly(file):
                metadata = pq.read_metadata(file)
            for group in range(metadata.num_row_groups):
                self._groups.append((file, group))
                self._starts.append(self._starts[-1] + metadata.row_group(group).num_rows)
        self._rows = range(self._starts[-1]) if rows is None else rows

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> ParquetRecords: ...
    def __getitem__(self, index: int | slice) -> Record | ParquetRecords:
        """Read a row; a slice reads nothing."""
        if isinstance(index, slice):
            return ParquetRecords(self._files, self._rows[index])
        row = self._rows[index]
        group = bisect_right(self._starts, row) - 1
        table = _row_group(*self._groups[group])
        return _record(table.slice(row - self._starts[group], 1))


@lru_cache(maxsize=2)
def _row_group(file: Path, group: int) -> pa.Table:
    with _said_clearly(file), pq.ParquetFile(file) as opened:
        return opened.read_row_group(group)


def _record(row: pa.Table | pa.RecordBatch) -> Record:
    """Return the only row of a table; Parquet does not promise that its texts are UTF-8."""
    try:
        return row.to_pylist()[0]
    except (ValueError, OverflowError) as error:  # text that is none, a date beyond year 9999
        detail = f"{type(error).__name__}: {error}"[:200]
        return Refusal(Reason.MALFORMED_RECORD, detail)


@contextmanager
def _said_clearly(file: Path) -> Iterator[None]:
    """Turn what a damaged file makes its reader raise into a SourceError that names the file."""
    try:
        yield
    except (pa.ArrowException, ValueError, OSError, RecursionError) as error:
        raise SourceError(f"{file} cannot be read: {error}") from error


def states(path: Path) -> States:
    """Return name, inode, size and time of each file of a source: as long as they stay, so does it.

    Raises SourceError if there is none.
    """
    stats = [(str(file.absolute()), file.stat()) for file in source_files(path)]
    return tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def load_records(path: Path) -> Sequence[Record]:
    """Return all records of a source; a JSONL line that is no JSON is a record that says so.

    They are read when they are asked for, but those of Arrow files. Images inside of Parquet stay
    undecoded: `{bytes, path}`. Raises SourceError, which names the
    file, where one is damaged as a whole.
    """
    return _loaded(path, states(path))


@lru_cache(maxsize=2)
def _loaded(path: Path, state: States) -> Sequence[Record]:
    files = source_files(path)
    if files[0].suffix == ".parquet":
        return ParquetRecords(files)
    if files[0].suffix == ".arrow":
        return list(_arrow_rows(files))
    with _said_clearly(path):
        return open_records(path)


def _arrow_rows(files: Sequence[Path]) -> Iterator[Record]:
    """Read the files of `datasets.save_to_disk`, which are Arrow streams."""
    for file in files:
        with (
            _said_clearly(file),
            pyarrow.memory_map(str(file)) as source,
            pyarrow.ipc.open_stream(source) as stream,
        ):
            for batch in stream:
                batch.validate(full=True)  # else a damaged offset would read beyond its buffer
                yield from (_record(batch.slice(n, 1)) for n in range(batch.num_rows))


def file_states(names: Iterable[str], image_root: ImageRoot) -> Iterator[str]:
    """Yield `file_state` of many files: where their folder leads is found out once a folder."""
    root = image_root.path if isinstance(image_root, LinkedFolder) else image_root
    inside: dict[str, bool] = {}
    for name in names:
        path = os.path.join(root, name)
        folder = os.path.dirname(path)
        if folder not in inside:
            any_file = os.path.join(os.path.abspath(folder), "any")
            inside[folder] = not isinstance(image_path(any_file, image_root), Refusal)
        yield (_regular_state(path) if inside[folder] else None) or file_state(name, image_root)


def _regular_state(path: str) -> str | None:
    """Return size and time of a regular file, None of anything else, links too."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return None
    return f"{found.st_size} {found.st_mtime_ns}" if stat.S_ISREG(found.st_mode) else None


def file_state(name: str, image_root: ImageRoot) -> str:
    """Return size and time of an image file; `missing` for what would not be read either."""
    file = image_path(name, image_root)
    try:
        found = None if isinstance(file, Refusal) else file.stat()
    except OSError:
        found = None
    return "missing" if found is None else f"{found.st_size} {found.st_mtime_ns}"
