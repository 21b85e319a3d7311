"""A few rows of an artifact by what stands in a column, read by DuckDB from its Parquet files."""

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import duckdb

from storage.refs import ArtifactRef
from storage.sqltext import quoted, text_list
from storage.store import ArtifactStore

_IMAGE = "STRUCT(bytes BLOB, "


class Lookup:
    """Reads rows of any artifact; a context manager, for one connection to DuckDB."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._connection = duckdb.connect(config={"threads": 2})
        self._connection.execute("SET enable_progress_bar = false")  # it would go to stdout
        self._columns: dict[tuple[ArtifactRef, str], dict[str, str]] = {}

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self._connection.close()

    def rows(
        self, ref: ArtifactRef, table: str, column: str, values: Iterable[Any]
    ) -> list[dict[str, Any]]:
        """Return the rows in which a column has one of the values, in stored order.

        An image comes as its size in bytes and their md5.
        """
        wanted = list(values)
        if not wanted:
            return []
        condition = f"{quoted(column)} IN ({', '.join('?' * len(wanted))})"
        return self.query(f"{self._select(ref, table)} WHERE {condition}", wanted)

    def first(self, ref: ArtifactRef, table: str, count: int) -> list[dict[str, Any]]:
        """Return the first rows of a table."""
        return self.query(f"{self._select(ref, table)} LIMIT ?", [count])

    def _select(self, ref: ArtifactRef, table: str) -> str:
        columns = self.columns(ref, table)
        selected = ", ".join(_selected(name, kind) for name, kind in columns.items())
        return f"SELECT {selected} FROM {self.source(ref, table)}"

    def query(self, sql: str, parameters: list[Any]) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        found = self._connection.execute(sql, parameters)
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def columns(self, ref: ArtifactRef, table: str) -> dict[str, str]:
        """Return the columns of a table with their types, as DuckDB calls them."""
        if (ref, table) not in self._columns:
            found = self._connection.execute(f"DESCRIBE SELECT * FROM {self.source(ref, table)}")
            self._columns[ref, table] = {row[0]: row[1] for row in found.fetchall()}
        return self._columns[ref, table]

    def source(self, ref: ArtifactRef, table: str) -> str:
        """Return a table of an artifact as it stands in a FROM clause."""
        paths = text_list(str(part.path) for part in self._store.parts(ref, table))
        return f"read_parquet({paths}, union_by_name = true, hive_partitioning = false)"


def _selected(name: str, kind: str) -> str:
    column = quoted(name)
    if not kind.startswith(_IMAGE):
        return column
    return (
        f"CASE WHEN {column} IS NOT NULL THEN {{'bytes': octet_length({column}.bytes), "
        f"'md5': md5({column}.bytes)}} END AS {column}"
    )
