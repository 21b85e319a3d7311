"""What a query from outside may do: read the catalogue and the Parquet files of its store."""

import re
from pathlib import Path

import duckdb

from storage.errors import StoreError

_LOCKED = (
    # Of a DataFrame in the calling program, which would otherwise be a table.
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
_EXPLAIN = re.compile(r"\s*explain\s+(analyze\s+)?", re.IGNORECASE)


class QueryRefused(StoreError):
    """A statement that does more than read."""


def confine(connection: duckdb.DuckDBPyConnection, root: Path) -> None:
    """Let a connection reach files below `root` and no others, for as long as it lives.

    Databases that it needs are attached before. DuckDB lets what is allowed be written too, so
    statements are looked at besides: see `require_reading`.
    """
    folders = {str(folder) for folder in (root, root.resolve())}
    # The views name their files by patterns, in which special characters of a path are escaped.
    folders |= {glob_escaped(folder) for folder in folders}
    listed = ", ".join("'" + folder.replace("'", "''") + "'" for folder in sorted(folders))
    connection.execute(f"SET allowed_directories = [{listed}]")
    for setting in _LOCKED:
        connection.execute(setting)


def require_reading(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise QueryRefused unless every statement is a SELECT or the EXPLAIN of one.

    `FROM`, `WITH`, `DESCRIBE`, `SUMMARIZE` and `SHOW TABLES` are SELECTs to DuckDB. `EXPLAIN
    ANALYZE` runs what it explains.
    """
    for statement in connection.extract_statements(sql):
        kind = statement.type.name
        if kind == "EXPLAIN":
            inner = connection.extract_statements(_EXPLAIN.sub("", statement.query, count=1))
            kind = inner[0].type.name if len(inner) == 1 else kind
        if kind != "SELECT":
            raise QueryRefused(
                f"this query may read only: expected SELECT, got {kind} "
                "(mbpo sql --external allows it)"
            )


def glob_escaped(path: str) -> str:
    """Return a pattern that matches this path alone."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)
