"""The views of the catalogue: each table of a stage as it is now, by recipe, and as it ever was."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from string import Template

import duckdb

from storage.catalog_tables import Latest, Version, latest_by_recipe, latest_of_all
from storage.dictionary import dictionary
from storage.runs import RunRecord
from storage.tables import ALIASES

logger = logging.getLogger(__name__)

_VERSION = {"key", "content"}
"""Columns that views add; where a table has one of them, those of the views say `artifact_`."""


def create_views(
    connection: duckdb.DuckDBPyConnection, versions: list[Version], runs: list[RunRecord]
) -> None:
    """Create the views of `lineage` and of every table that a version has, with their comments."""
    connection.execute(sql_text("lineage"))
    for table, version in latest_of_all(versions, runs).items():
        _create_view(connection, table, version.glob(table))
    for version in versions:
        for table in version.manifest.tables:
            _create_view(connection, version.view(table), version.glob(table))
    own = _own_columns(connection)
    latest = latest_by_recipe(versions, runs)
    for table in sorted({table for version in versions for table in version.manifest.tables}):
        of_it = [version for version in versions if table in version.manifest.tables]
        _create_view_of_all(connection, table, of_it, own[table])
        _create_view_of_latest(connection, table, latest, own[table])
    _create_aliases(connection)
    _comment(connection)


def _create_view(connection: duckdb.DuckDBPyConnection, view: str, glob: str) -> None:
    sql = Template(sql_text("view_one")).substitute(view=_name(view), paths=_texts([glob]))
    _execute_view(connection, view, sql)


def _create_view_of_all(
    connection: duckdb.DuckDBPyConnection, table: str, versions: list[Version], own: set[str]
) -> None:
    prefix = "artifact_" if own & _VERSION else ""
    sql = Template(sql_text("view_all")).substitute(
        view=_name(f"{table}_all"),
        paths=_texts(version.glob(table) for version in versions),
        key=_name(f"{prefix}key"),
        content=_name(f"{prefix}content"),
    )
    _execute_view(connection, f"{table}_all", sql)


def _create_view_of_latest(
    connection: duckdb.DuckDBPyConnection, table: str, latest: Latest, own: set[str]
) -> None:
    # One branch a recipe: a filter on `recipe` then opens the files of that recipe alone.
    branches = [
        Template(sql_text("view_latest")).substitute(
            recipe=_text(recipe),
            key=_text(version.manifest.ref.key),
            paths=_texts([version.glob(table)]),
            recipe_name=_name("artifact_recipe" if "recipe" in own else "recipe"),
            key_name=_name("artifact_key" if own & _VERSION else "key"),
        )
        for (recipe, name), version in latest.items()
        if name == table
    ]
    view = f"{table}_latest"
    union = "\nUNION ALL BY NAME\n".join(branches)
    _execute_view(connection, view, f"CREATE VIEW {_name(view)} AS\n{union}")


def _create_aliases(connection: duckdb.DuckDBPyConnection) -> None:
    columns = _columns(connection)
    for alias, table in ALIASES.items():
        for view in (name for name in columns if name in _family(table)):
            of_it = _name(alias + view.removeprefix(table))
            _execute_view(connection, alias, f"CREATE VIEW {of_it} AS FROM {_name(view)}")


def _family(table: str) -> tuple[str, ...]:
    return table, f"{table}_all", f"{table}_latest"


def _execute_view(connection: duckdb.DuckDBPyConnection, view: str, sql: str) -> None:
    try:
        connection.execute(sql)
    except duckdb.Error as error:
        # DuckDB reads the footers here. One rotten part must not take all other views with it.
        logger.warning("the catalogue has no view %s: %s", view, error)


def _own_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, set[str]]:
    """Return the columns that any version of a table has, in lower case."""
    found: dict[str, set[str]] = defaultdict(set)
    for view, columns in _columns(connection).items():
        table, version, _ = view.partition("__")
        if version:
            found[table] |= {name.lower() for name in columns}
    return found


def _columns(connection: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """Return the columns of every table and view."""
    found: dict[str, list[str]] = defaultdict(list)
    for view, column in connection.execute(sql_text("all_columns")).fetchall():
        found[view].append(column)
    return found


def _comment(connection: duckdb.DuckDBPyConnection) -> None:
    """Say of every table and its columns what they hold, as far as it is written down."""
    columns = _columns(connection)
    views = {name for (name,) in connection.execute(sql_text("all_views")).fetchall()}
    statements = []
    for name, described in dictionary().items():
        if name not in columns:
            continue
        kind = "VIEW" if name in views else "TABLE"
        statements.append(f"COMMENT ON {kind} {_name(name)} IS {_text(described.about)}")
        statements += [
            f"COMMENT ON COLUMN {_name(name)}.{_name(column)} IS {_text(text.comment)}"
            for column, text in described.columns.items()
            if column in columns[name]
        ]
    connection.execute(";\n".join(statements))


@cache
def sql_text(name: str) -> str:
    """Return the text of a statement in `storage/sql`."""
    return (files("storage") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _texts(values: Iterable[str]) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"
