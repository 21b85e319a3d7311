"""The DuckDB catalogue: an index over manifests that may be deleted at any time.

DuckDB lets one process write a file, and a reader keeps a writer out. So nobody ever writes to
the file that readers have open: a rebuild makes a new file and renames it over the old one.
"""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from storage.catalog_tables import Version, rows_of, versions_of
from storage.catalog_views import create_views, sql_text
from storage.files import fsync_dir, fsync_file, temporary_name
from storage.guard import confine, require_reading
from storage.locks import file_lock
from storage.runs import RunRecord, read_runs
from storage.store import ArtifactStore

T = TypeVar("T")
logger = logging.getLogger(__name__)

CATALOG_NAME = "catalog.duckdb"
# Files of this storage version open in every DuckDB since 1.2; those of the default of 2.0 do not.
_STORAGE_VERSION = "v1.2.0"
_BATCH_ROWS = 1_000


def rebuild_catalog(store: ArtifactStore) -> Path:
    """Write `root/catalog.duckdb` anew from the manifests and run records; return its path.

    Readers that have the old file open keep it undisturbed. Tables are those of `sql/catalog.sql`;
    `lineage` is what each version was made from. Views for each table T that stages wrote: `T` (of
    the latest run that has it, else of the latest commit), `T_latest` (of the latest run of each
    recipe, with `recipe` and `key`), `T_all` (every version, with `key` and `content`) and
    `T__<first 8 of key>`.
    """
    target = store.root / CATALOG_NAME
    with file_lock(store.root / "locks" / "catalog.lock"):
        for stale in store.root.glob(".catalog-*"):
            stale.unlink()
        temporary = store.root / temporary_name("catalog")
        _build(temporary, versions_of(store), read_runs(store.root))
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
    it may then do what DuckDB and this process may, but for writing to the catalogue. Rows come as
    they are fetched (`fetchmany`), never all of them at once.
    A catalogue that is missing, damaged, older than the artifacts it points at or from another
    place is rebuilt. Raises QueryRefused for a statement that does more than read, ValueError for
    none at all.
    """
    return _asked(root, sql, external, lambda connection: connection.execute(sql, parameters))


def record_batches(root: Path, sql: str, *, external: bool = False) -> pa.RecordBatchReader:
    """Run SQL like `query` and return the result batch by batch, with the types that it has."""
    return _asked(
        root, sql, external, lambda connection: connection.sql(sql).to_arrow_reader(_BATCH_ROWS)
    )


def _asked(
    root: Path, sql: str, external: bool, ask: Callable[[duckdb.DuckDBPyConnection], T]
) -> T:
    path = Path(root).absolute() / CATALOG_NAME
    if not path.exists():
        rebuild_catalog(ArtifactStore(path.parent))
    try:
        return ask(_checked(path, sql, external))
    except duckdb.IOException as error:
        logger.warning("rebuilding the catalogue: %s", error)
    except duckdb.CatalogException:
        # A table that is not there may be one that this catalogue is too old to have.
        if not os.access(path.parent, os.W_OK):
            raise
    rebuild_catalog(ArtifactStore(path.parent))
    return ask(_checked(path, sql, external))


def _checked(path: Path, sql: str, external: bool) -> duckdb.DuckDBPyConnection:
    connection = _open(path)
    if not connection.extract_statements(sql):
        raise ValueError("the query is empty")
    if not external:
        _require_own(connection, path.parent)
        confine(connection, path.parent)
        require_reading(connection, sql)
    return connection


def _require_own(connection: duckdb.DuckDBPyConnection, root: Path) -> None:
    """Raise IOException for a catalogue whose views lead elsewhere: the store was moved."""
    for (path,) in connection.execute("SELECT path FROM artifacts").fetchall():
        if not Path(path).is_relative_to(root):
            raise duckdb.IOException(f"its artifacts lie elsewhere: {path}")


def _open(path: Path) -> duckdb.DuckDBPyConnection:
    # Attached, not opened: within one process `duckdb.connect(path)` would hand out again the
    # file that another thread still has open, even after it was replaced.
    connection = duckdb.connect()
    # It would be drawn on standard output, in the midst of the rows.
    connection.execute("SET enable_progress_bar = false")
    connection.execute(f"ATTACH {_text(str(path))} AS catalog (READ_ONLY)")
    connection.execute("USE catalog")
    return connection


def _build(path: Path, versions: list[Version], runs: list[RunRecord]) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            f"ATTACH {_text(str(path))} AS catalog (STORAGE_VERSION '{_STORAGE_VERSION}')"
        )
        connection.execute("USE catalog")
        connection.execute(sql_text("catalog"))
        for table, rows in rows_of(versions, runs).items():
            _insert(connection, table, rows)
        create_views(connection, versions, runs)
        connection.execute("USE memory")
        connection.execute("DETACH catalog")


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.register("incoming", pa.Table.from_pylist(rows))
        connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming")
        connection.unregister("incoming")


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
