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
    """Create the views of every table that a version has, and all comments."""
    of_one = {
        table: _view_of(table, version.glob(table))
        for table, version in latest_of_all(versions, runs).items()
    } | {
        version.view(table): _view_of(version.view(table), version.glob(table))
        for version in versions
        for table in version.manifest.tables
    }
    _create(connection, of_one)
    own, latest = _own_columns(connection), latest_by_recipe(versions, runs)
    of_several = {name: sql_text(name) for name in ("lineage", "identity_values")}
    for table in sorted({table for version in versions for table in version.manifest.tables}):
        of_it = [version for version in versions if table in version.manifest.tables]
        of_several[f"{table}_all"] = _view_of_all(table, of_it, own[table])
        of_several[f"{table}_latest"] = _view_of_latest(table, latest, own[table])
    _create(connection, of_several)
    _create(connection, _aliases(connection))
    _comment(connection)


def _create(connection: duckdb.DuckDBPyConnection, views: dict[str, str]) -> None:
    """Execute statements by view; one that fails leaves that view out.

    In one transaction, since outside of it each is forced to the disk alone. An error ends a
    transaction: then one by one.
    """
    connection.execute("BEGIN")
    try:
        for sql in views.values():
            connection.execute(sql)
        connection.execute("COMMIT")
    except duckdb.Error:
        connection.execute("ROLLBACK")
        for view, sql in views.items():
            _execute_alone(connection, view, sql)


def _execute_alone(connection: duckdb.DuckDBPyConnection, view: str, sql: str) -> None:
    try:
        connection.execute(sql)
    except duckdb.Error as error:
        # DuckDB reads the footers here. One rotten part must not take all other views with it.
        logger.warning("the catalogue has no view %s: %s", view, error)


def _view_of(view: str, glob: str) -> str:
    return Template(sql_text("view_one")).substitute(view=_name(view), paths=_texts([glob]))


def _view_of_all(table: str, versions: list[Version], own: set[str]) -> str:
    prefix = "artifact_" if own & _VERSION else ""
    return Template(sql_text("view_all")).substitute(
        view=_name(f"{table}_all"),
        paths=_texts(version.glob(table) for version in versions),
        key=_name(f"{prefix}key"),
        content=_name(f"{prefix}content"),
    )


def _view_of_latest(table: str, latest: Latest, own: set[str]) -> str:
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
    return f"CREATE VIEW {_name(f'{table}_latest')} AS\n" + "UNION ALL BY NAME\n".join(branches)


def _aliases(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Return views under a further name, of those that there are."""
    there = _columns(connection)
    return {
        f"{alias}{suffix}": f"CREATE VIEW {_name(alias + suffix)} AS FROM {_name(table + suffix)}"
        for alias, table in ALIASES.items()
        for suffix in ("", "_all", "_latest")
        if table + suffix in there
    }


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
    connection.execute(";\n".join(["BEGIN", *statements, "COMMIT"]))


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
