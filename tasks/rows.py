"""Reading single rows of an artifact: only the row groups that hold them are opened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa
import torch

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
def fetch(
    store: ArtifactStore,
    ref: ArtifactRef,
    table: str,
    ids: Iterable[str],
    columns: Sequence[str],
    id_column: str = "sample_id",
) -> dict[str, dict[str, Any]]:
    """Return rows by id, with wide columns (images). Raises KeyError for an unknown id."""
    places = _places(tuple(store.parts(ref, table)), id_column)
    groups: dict[tuple[Part, int], list[tuple[str, int]]] = defaultdict(list)
    for row_id in ids:
        part, group, offset = places[row_id]
        groups[part, group].append((row_id, offset))
    found: dict[str, dict[str, Any]] = {}
    for (part, group), wanted in groups.items():
        with part.open() as file:
            rows = file.read_row_group(group, columns=list(columns))
        taken = rows.take(pa.array([offset for _, offset in wanted])).to_pylist()
        found.update((row_id, row) for (row_id, _), row in zip(wanted, taken, strict=True))
    return found


@lru_cache(maxsize=8)
def _places(parts: tuple[Part, ...], id_column: str) -> dict[str, tuple[Part, int, int]]:
    places = {}
    for part in parts:
        with part.open() as file:
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=[id_column]).column(0).to_pylist()
                places.update({row_id: (part, group, n) for n, row_id in enumerate(ids)})
    return places


def pixels(image: dict[str, Any]) -> torch.Tensor:
    """Return a stored image as uint8 [3, H, W]."""
    return decode_png(image["bytes"])


def chunk(rows: Sequence[Any], size: int, shard: int) -> Sequence[Any]:
    """Return the rows of one shard of `size` rows."""
    return rows[shard * size : (shard + 1) * size]
