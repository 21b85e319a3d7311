"""The DuckDB catalogue: an index over manifests that may be deleted at any time.

DuckDB lets one process write a file, and a reader keeps a writer out. So nobody ever writes to
the file that readers have open: a rebuild makes a new file and renames it over the old one.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import duckdb
import pyarrow as pa

from storage.files import fsync_dir, fsync_file, temporary_name
from storage.guard import confine, glob_escaped, require_reading
from storage.locks import file_lock
from storage.manifest import Manifest, PartInfo
from storage.publish import committed_at, read_intact
from storage.refs import ArtifactRef
from storage.runs import RunRecord, read_runs
from storage.store import ArtifactStore

logger = logging.getLogger(__name__)

CATALOG_NAME = "catalog.duckdb"
# Files of this storage version open in every DuckDB since 1.2; those of the default of 2.0 do not.
_STORAGE_VERSION = "v1.2.0"


@dataclass(frozen=True)
class _Version:
    """One intact artifact."""

    path: Path
    manifest: Manifest

    @property
    def id(self) -> dict[str, str]:
        ref = self.manifest.ref
        return {"stage": ref.stage, "key": ref.key, "content": ref.content}

    def glob(self, table: str) -> str:
        """Return the pattern of a table's parts; special characters of the path are escaped."""
        return f"{glob_escaped(str(self.path))}/{table}-*.parquet"


def rebuild_catalog(store: ArtifactStore) -> Path:
    """Write `root/catalog.duckdb` anew from the manifests and run records; return its path.

    Readers that have the old file open keep it undisturbed. Tables: artifacts, artifact_inputs,
    parts, shards, reasons, runs, run_stages. Views for each table T that stages wrote: `T` (of the
    latest run that has it, else of the latest commit), `T_all` (every version, with `key` and
    `content`) and `T__<first 8 of key>`.
    """
    target = store.root / CATALOG_NAME
    with file_lock(store.root / "locks" / "catalog.lock"):
        for stale in store.root.glob(".catalog-*"):
            stale.unlink()
        temporary = store.root / temporary_name("catalog")
        _build(temporary, _versions(store), read_runs(store.root))
        fsync_file(temporary)
        # The log of somebody who opened the old file for writing must not meet the new file.
        target.with_name(target.name + ".wal").unlink(missing_ok=True)
        os.replace(temporary, target)
        fsync_dir(store.root)
    return target


def query(
    root: Path, sql: str, parameters: Sequence[Any] | None = None, *, external: bool = False
) -> duckdb.DuckDBPyConnection:
    """Run SQL on the catalogue, read-only, and return the connection with the result on it.

    It reads the files of this store and nothing else, and writes nothing; `external` lifts that:
    it may then do what DuckDB and this process may, but for writing to the catalogue.
    A catalogue that is missing, damaged, older than the artifacts it points at or from another
    place is rebuilt. Raises QueryRefused for a statement that does more than read.
    """
    path = Path(root).absolute() / CATALOG_NAME
    if not path.exists():
        rebuild_catalog(ArtifactStore(path.parent))
    try:
        return _run(path, sql, parameters, external)
    except duckdb.IOException as error:
        logger.warning("rebuilding the catalogue: %s", error)
    rebuild_catalog(ArtifactStore(path.parent))
    return _run(path, sql, parameters, external)


def _run(
    path: Path, sql: str, parameters: Sequence[Any] | None, external: bool
) -> duckdb.DuckDBPyConnection:
    connection = _open(path)
    if not external:
        _require_own(connection, path.parent)
        confine(connection, path.parent)
        require_reading(connection, sql)
    return connection.execute(sql, parameters)


def _require_own(connection: duckdb.DuckDBPyConnection, root: Path) -> None:
    """Raise IOException for a catalogue whose views lead elsewhere: the store was moved."""
    for (path,) in connection.execute("SELECT path FROM artifacts").fetchall():
        if not Path(path).is_relative_to(root):
            raise duckdb.IOException(f"its artifacts lie elsewhere: {path}")


def _open(path: Path) -> duckdb.DuckDBPyConnection:
    # Attached, not opened: within one process `duckdb.connect(path)` would hand out again the
    # file that another thread still has open, even after it was replaced.
    connection = duckdb.connect()
    connection.execute(f"ATTACH {_text(str(path))} AS catalog (READ_ONLY)")
    connection.execute("USE catalog")
    return connection


def _versions(store: ArtifactStore) -> list[_Version]:
    """Return the intact artifacts, oldest commit first; a view over a lost file would fail."""
    paths = (store.path(ref) for ref, _ in store.refs())
    return [_Version(path, manifest) for path in paths if (manifest := read_intact(path))]


def _build(path: Path, versions: list[_Version], runs: list[RunRecord]) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            f"ATTACH {_text(str(path))} AS catalog (STORAGE_VERSION '{_STORAGE_VERSION}')"
        )
        connection.execute("USE catalog")
        connection.execute(_sql("catalog"))
        for table, rows in _rows(versions, runs).items():
            _insert(connection, table, rows)
        _create_views(connection, versions, runs)
        connection.execute("USE memory")
        connection.execute("DETACH catalog")


def _rows(versions: list[_Version], runs: list[RunRecord]) -> dict[str, list[dict[str, Any]]]:
    return {
        "artifacts": [_artifact_row(version) for version in versions],
        "artifact_inputs": [
            {**v.id, "name": name, **_prefixed("input_", ref)}
            for v in versions
            for name, ref in v.manifest.inputs.items()
        ],
        "parts": [_part_row(v, part) for v in versions for part in v.manifest.parts],
        "shards": [_shard_row(v, shard) for v in versions for shard in v.manifest.shards],
        "reasons": [
            {**v.id, "table_name": table, "reason": reason, "count": count}
            for v in versions
            for table, counts in v.manifest.reasons.items()
            for reason, count in counts.items()
        ],
        "runs": [
            {
                "run_id": run.run_id,
                "recipe": run.recipe,
                "started_at": _utc(run.started_at),
                "status": run.status,
            }
            for run in runs
        ],
        "run_stages": [
            {"run_id": run.run_id, **ref.to_dict(), "stage": stage}
            for run in runs
            for stage, ref in run.stages.items()
        ],
    }


def _artifact_row(version: _Version) -> dict[str, Any]:
    manifest = version.manifest
    same = ("artifact", "rows", "bytes", "wall_seconds", "device", "recipe", "run_id")
    return {
        **version.id,
        **{name: getattr(manifest, name) for name in same},
        "code_revision": manifest.code_revision,
        "code_dirty": manifest.code_dirty,
        "created_at": _utc(manifest.created_at),
        "committed_at": _utc(committed_at(version.path) or manifest.created_at),
        "path": str(version.path),
    }


def _part_row(version: _Version, part: PartInfo) -> dict[str, Any]:
    same = {name: getattr(part, name) for name in ("name", "rows", "bytes", "sha256")}
    return {
        **version.id, "table_name": part.table, **same, "path": str(version.path / part.name)
    }  # fmt: skip


def _shard_row(version: _Version, shard: dict[str, Any]) -> dict[str, Any]:
    """Return what the worker noted of a shard; what it did not note is null."""
    began = shard.get("started_at")
    return {
        **version.id,
        "shard": shard["shard"],
        "rows": sum(shard["rows"].values()),
        "started_at": began and _utc(began),
        "seconds": shard.get("seconds"),
        "model_seconds": shard.get("model_seconds"),
        "device": shard.get("device"),
    }


def _prefixed(prefix: str, ref: ArtifactRef) -> dict[str, str]:
    return {prefix + name: value for name, value in ref.to_dict().items()}


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.register("incoming", pa.Table.from_pylist(rows))
        connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming")
        connection.unregister("incoming")


def _create_views(
    connection: duckdb.DuckDBPyConnection, versions: list[_Version], runs: list[RunRecord]
) -> None:
    for table, version in _latest(versions, runs).items():
        _create_view(connection, table, version.glob(table))
    named = {f"{t}__{v.manifest.ref.key[:8]}": (t, v) for v in versions for t in v.manifest.tables}
    for view, (table, version) in named.items():
        _create_view(connection, view, version.glob(table))
    for table in sorted({table for table, _ in named.values()}):
        globs = [v.glob(table) for v in versions if table in v.manifest.tables]
        _create_view_of_all(connection, table, globs)


def _latest(versions: list[_Version], runs: list[RunRecord]) -> dict[str, _Version]:
    """Return for each table the version of the latest run that has it, else the last commit."""
    by_ref = {version.manifest.ref: version for version in versions}
    used = (by_ref[ref] for run in runs for ref in run.stages.values() if ref in by_ref)
    return {table: v for v in [*versions, *used] for table in v.manifest.tables}


def _create_view(connection: duckdb.DuckDBPyConnection, view: str, glob: str) -> None:
    sql = Template(_sql("view_one")).substitute(view=_name(view), paths=_texts([glob]))
    _execute_view(connection, view, sql)


def _create_view_of_all(
    connection: duckdb.DuckDBPyConnection, table: str, globs: list[str]
) -> None:
    # A stage's own columns of these names keep them.
    taken = connection.execute(_sql("taken_names"), [f"{table}__"]).fetchone()
    prefix = "artifact_" if taken else ""
    sql = Template(_sql("view_all")).substitute(
        view=_name(f"{table}_all"),
        paths=_texts(globs),
        key=_name(f"{prefix}key"),
        content=_name(f"{prefix}content"),
    )
    _execute_view(connection, f"{table}_all", sql)


def _execute_view(connection: duckdb.DuckDBPyConnection, view: str, sql: str) -> None:
    try:
        connection.execute(sql)
    except duckdb.Error as error:
        # DuckDB reads the footers here. One rotten part must not take all other views with it.
        logger.warning("the catalogue has no view %s: %s", view, error)


def _sql(name: str) -> str:
    return (files("storage") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _texts(values: Iterable[str]) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"
