"""Reading single rows of an artifact: only the row groups that hold them are opened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from mbpo_core.mining.png import decode_png
from storage.reading import Part
from storage.refs import ArtifactRef
from storage.store import ArtifactStore
from tasks.clock import around_the_model


@around_the_model()
def read(
    store: ArtifactStore, ref: ArtifactRef, table: str, columns: Sequence[str]
) -> list[dict[str, Any]]:
    """Return some columns of all rows; meant for narrow ones."""
    return store.table(ref, table, columns=list(columns)).to_pylist()


@around_the_model()
def read_where(
    store: ArtifactStore,
    ref: ArtifactRef,
    table: str,
    columns: Sequence[str],
    keep: Callable[[pa.Table], pa.ChunkedArray | pa.Array],
) -> pa.Table:
    """Return some columns of the rows that `keep` says true of, seen a part at a time."""
    found = []
    for part in store.parts(ref, table):
        rows = part.read(columns)
        found.append(rows.filter(keep(rows)))
    return pa.concat_tables(found)


@around_the_model()
def kept_ids(store: ArtifactStore, ref: ArtifactRef, table: str) -> pa.ChunkedArray:
    """Return `sample_id` of the rows without a reason, in order; read once a process."""
    return _kept_ids(tuple(store.parts(ref, table)))


@lru_cache(maxsize=2)
def _kept_ids(parts: tuple[Part, ...]) -> pa.ChunkedArray:
    chunks = []
    for part in parts:
        rows = part.read(["sample_id", "reason"])
        chunks += rows.filter(pc.is_null(rows["reason"]))["sample_id"].chunks
    return pa.chunked_array(chunks, pa.string())


@around_the_model()
def fetch(
    store: ArtifactStore,
    ref: ArtifactRef,
    table: str,
    ids: Iterable[str],
    columns: Sequence[str],
    id_column: str = "sample_id",
) -> dict[str, dict[str, Any]]:
    """Return rows by id, with wide columns (images). Raises KeyError for an unknown id."""
    index = _index(tuple(store.parts(ref, table)), id_column)
    groups: dict[tuple[Part, int], list[tuple[str, int]]] = defaultdict(list)
    for row_id in ids:
        part, group, offset = index.place(row_id)
        groups[part, group].append((row_id, offset))
    found: dict[str, dict[str, Any]] = {}
    for (part, group), wanted in groups.items():
        with part.open() as file:
            rows = file.read_row_group(group, columns=list(columns))
        taken = rows.take(pa.array([offset for _, offset in wanted])).to_pylist()
        found.update((row_id, row) for (row_id, _), row in zip(wanted, taken, strict=True))
    return found


@dataclass(frozen=True)
class _Index:
    """Where each id stands: arrays, since a dict of a hundred thousand ids is forty megabytes."""

    ids: NDArray[np.bytes_]
    """In order of their bytes."""
    rows: NDArray[np.int32]
    """Row of each id, counted over all parts."""
    starts: NDArray[np.int64]
    """First row of each row group."""
    groups: list[tuple[Part, int]]
    """Part and number of each row group."""

    def place(self, row_id: str) -> tuple[Part, int, int]:
        """Return part, row group and row in it."""
        wanted = row_id.encode()
        at = int(np.searchsorted(self.ids, wanted))
        if at == len(self.ids) or self.ids[at] != wanted:
            raise KeyError(row_id)
        row = self.rows[at]
        group = int(np.searchsorted(self.starts, row, side="right")) - 1
        return *self.groups[group], int(row - self.starts[group])


@lru_cache(maxsize=4)
def _index(parts: tuple[Part, ...], id_column: str) -> _Index:
    ids: list[NDArray[np.bytes_]] = []
    sizes, groups = [], []
    for part in parts:
        with part.open() as file:
            named = file.read([id_column]).column(0).cast(pa.binary())
            ids.append(np.array(named.to_pylist(), np.bytes_))
            for group in range(file.num_row_groups):
                groups.append((part, group))
                sizes.append(file.metadata.row_group(group).num_rows)
    whole = np.concatenate(ids)
    order = np.argsort(whole, kind="stable").astype(np.int32)
    return _Index(whole[order], order, np.cumsum([0, *sizes[:-1]]), groups)


def pixels(image: dict[str, Any]) -> torch.Tensor:
    """Return a stored image as uint8 [3, H, W]."""
    return decode_png(image["bytes"])


Rows = TypeVar("Rows", Sequence[Any], pa.ChunkedArray, pa.Table)


def chunk(rows: Rows, size: int, shard: int) -> Rows:
    """Return the rows of one shard of `size` rows."""
    return rows[shard * size : (shard + 1) * size]
