"""Tables of an artifact as a folder that `datasets.load_dataset` opens, images decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storage.dictionary import dictionary
from storage.manifest import Manifest
from storage.outgoing import Advance, copy_checked
from storage.refs import ArtifactRef
from storage.store import ArtifactStore

DATA = "data"
"""Folder of the tables: each has one of its own in it."""


def table_bytes(manifest: Manifest) -> int:
    """Return the size of all tables."""
    return sum(part.bytes for part in manifest.parts)


def write_tables(store: ArtifactStore, manifest: Manifest, target: Path, advance: Advance) -> None:
    """Copy the Parquet parts of all tables, byte by byte, each compared with its sha256.

    They carry the features of `datasets` already. Of a table without rows there is no file:
    `datasets` does not open one. Raises DamagedArtifact.
    """
    folder = store.path(manifest.ref)
    for part in manifest.parts:
        if not part.rows:
            continue
        copied = target / DATA / part.table / part.name
        copy_checked(folder / part.name, copied, part.sha256, advance)


def tables_of(store: ArtifactStore, ref: ArtifactRef, manifest: Manifest) -> list[dict[str, Any]]:
    """Return of each table: name, rows, rows by reason, and its columns with type and meaning."""
    found = []
    for table in manifest.tables:
        with store.parts(ref, table)[0].open() as part:
            schema = part.schema_arrow
        rows = sum(part.rows for part in manifest.table_parts(table))
        columns = [{"name": field.name, "type": str(field.type),
                    "meaning": _meaning(table, field.name)} for field in schema]  # fmt: skip
        reasons = manifest.reasons.get(table, {})
        found.append({"name": table, "rows": rows, "reasons": reasons, "columns": columns})
    return found


def _meaning(table: str, column: str) -> str:
    """Return what a column means; of one that older code wrote it may not be written down."""
    described = dictionary().get(table)
    if described is None or column not in described.columns:
        return ""
    return described.columns[column].comment
