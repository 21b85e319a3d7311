"""A committed artifact opened again: some of its shards staged as they are, the rest left to make.

Until the next commit the artifact itself stays what readers get. Whatever is interrupted in between
goes on from the staged shards, as every half-built key does.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.checks import count_reasons
from storage.files import remove_tree
from storage.manifest import Manifest
from storage.reading import Part, check_file
from storage.refs import ArtifactRef
from storage.store import ArtifactStore

_ADDED = ("shard", "rows")
"""What a commit adds to what the worker noted."""


def shards_with(store: ArtifactStore, ref: ArtifactRef, reasons: Set[str]) -> set[int]:
    """Return the shards of an artifact with a row, of any table, that has one of these reasons.

    Raises DamagedArtifact where a part cannot be read.
    """
    manifest = store.manifest(ref)
    tables = {table for table, counts in manifest.reasons.items() if reasons & counts.keys()}
    return {
        int(part.name.removesuffix(".parquet").rpartition("-")[2])
        for part in manifest.parts
        if part.table in tables
        and _has(Part(store.path(ref) / part.name, part.footer).read(["reason"]), reasons)
    }


def staged_reasons(store: ArtifactStore, stage: str, key: str) -> dict[str, dict[str, int]]:
    """Return the rows of the staged shards by table and reason, as a manifest has them."""
    paths: dict[str, list[Path]] = {}
    for shard in store.staged_shards(stage, key):
        for name in shard.rows:
            paths.setdefault(name, []).append(shard.table(name))
    return {name: count_reasons(found) for name, found in paths.items()}


def drop_staged(
    store: ArtifactStore, stage: str, key: str, reasons: Set[str], others: Iterable[int] = ()
) -> set[int]:
    """Remove staged shards that have a row of these reasons, and `others`; return which.

    Only for the holder of the key's lock.
    """
    meant = set(others)
    gone = set()
    for shard in store.staged_shards(stage, key):
        tables = (shard.table(name) for name in shard.rows)
        if shard.number in meant or any(_file_has(table, reasons) for table in tables):
            remove_tree(shard.directory)
            gone.add(shard.number)
    return gone


def restage(store: ArtifactStore, ref: ArtifactRef, shards: Iterable[int]) -> None:
    """Stage shards of a committed artifact, byte for byte; a whole shard that is staged stays.

    Only for the holder of the key's lock. Raises ValueError for an artifact with files beside its
    tables, of which no record says which shard wrote them; DamagedArtifact where bytes changed.
    """
    manifest = store.manifest(ref)
    if manifest.files:
        raise ValueError(f"{ref.short} has files that belong to no one shard")
    noted = {shard["shard"]: shard for shard in manifest.shards}
    for number in shards:
        info = {name: value for name, value in noted[number].items() if name not in _ADDED}
        tables = {name: _table(store, ref, manifest, name, number) for name in manifest.tables}
        store.write_shard(ref.stage, ref.key, number, tables, info=info)


def _table(
    store: ArtifactStore, ref: ArtifactRef, manifest: Manifest, table: str, number: int
) -> Path | pa.Table:
    """Return the part of a shard; one without rows was left out at the commit."""
    folder = store.path(ref)
    parts = {part.name: part for part in manifest.table_parts(table)}
    own = parts.get(f"{table}-{number:05d}.parquet")
    if own is None:
        return pq.read_schema(folder / next(iter(parts))).empty_table()
    check_file(folder / own.name, own.sha256)
    return folder / own.name


def _file_has(path: Path, reasons: Set[str]) -> bool:
    with pq.ParquetFile(path) as file:
        return "reason" in file.schema_arrow.names and _has(file.read(["reason"]), reasons)


def _has(table: pa.Table, reasons: Set[str]) -> bool:
    return not reasons.isdisjoint(table.column("reason").to_pylist())
