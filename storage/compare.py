"""Two versions of one table compared by DuckDB: rows added, removed and changed, column by column.

Rows are matched by the columns that tell them apart, which the rows themselves show: the shortest
run of leading columns that no two rows of a version share. Values are compared by hash, images by
the md5 of their bytes, numbers by value; nothing but ids and hashes is held in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb

from storage.reading import Part
from storage.refs import ArtifactRef
from storage.sqltext import quoted, text_list
from storage.store import ArtifactStore

_THREADS = 2
_SHOWN = 120
_WHOLE = ("VARCHAR", "BOOLEAN", "INTEGER", "BIGINT", "SMALLINT", "TINYINT", "UBIGINT", "UINTEGER")
_NUMBERS = ("FLOAT", "DOUBLE", "INTEGER", "BIGINT", "SMALLINT", "TINYINT", "UBIGINT", "UINTEGER")
_IMAGE = "STRUCT(bytes BLOB, "
"""How the type of an image column begins; DuckDB's versions differ in the rest."""


@dataclass(frozen=True)
class ColumnChange:
    """What became of one column in the rows that both versions have."""

    column: str
    rows: int
    """In how many rows its value differs."""
    mean: float | None = None
    """Of numbers: mean of new - old over the rows in which it differs, both being numbers."""
    largest: float | None = None
    """Of numbers: the largest |new - old|."""


@dataclass(frozen=True)
class TableChange:
    """What differs between two versions of a table."""

    table: str
    ids: tuple[str, ...]
    """Columns that rows were matched by; () where none tell them apart, or where both versions have
    one row: whole rows are then compared, or these two."""
    rows: tuple[int, int]
    added: int
    removed: int
    changed: int
    same: int
    columns: tuple[ColumnChange, ...] = ()
    """The columns that differ, in the table's order."""
    new_columns: tuple[str, ...] = ()
    lost_columns: tuple[str, ...] = ()
    retyped: tuple[str, ...] = ()
    """Columns of another type, which are compared as text."""
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """`added`, `removed`: ids of a few rows; `changed`: ids, and `old -> new` by column."""

    @property
    def equal(self) -> bool:
        """Say whether nothing differs."""
        lists = (self.new_columns, self.lost_columns, self.retyped)
        return not (self.added or self.removed or self.changed or any(lists))


def compare_versions(
    store: ArtifactStore, table: str, old: ArtifactRef, new: ArtifactRef, *, examples: int = 3
) -> TableChange:
    """Compare a table of two artifacts; files that both have byte for byte are not read."""
    infos = [store.manifest(ref).table_parts(table) for ref in (old, new)]
    parts = [store.parts(ref, table) for ref in (old, new)]
    shared = {info.sha256 for info in infos[0]} & {info.sha256 for info in infos[1]}
    rows = sum(info.rows for info in infos[0] if info.sha256 in shared)
    if all(info.sha256 in shared for each in infos for info in each):
        return TableChange(table, (), (rows, rows), 0, 0, 0, rows)
    own = [
        [part for part, info in zip(*side, strict=True) if info.sha256 not in shared]
        for side in zip(parts, infos, strict=True)
    ]
    if not all(own):  # a side of no rows still has columns, which must come from somewhere
        return compare_tables(table, *parts, examples=examples)
    found = compare_tables(table, *own, examples=examples)
    totals = (found.rows[0] + rows, found.rows[1] + rows)
    return replace(found, rows=totals, same=found.same + rows)


def compare_tables(
    table: str, old: Sequence[Part], new: Sequence[Part], *, examples: int = 3
) -> TableChange:
    """Compare two versions of a table by the Parquet files of each.

    Args:
        table: its name, for the result.
        old, new: parts as `ArtifactStore.parts` gives them.
        examples: how many rows of each kind to show.
    """
    with duckdb.connect(config={"threads": _THREADS}) as connection:
        connection.execute("SET enable_progress_bar = false")  # it would go to stdout
        for name, parts in (("old", old), ("new", new)):
            paths = text_list(str(part.path) for part in parts)
            connection.execute(
                f"CREATE VIEW {name}_rows AS SELECT * FROM read_parquet({paths}, "
                "union_by_name = true, hive_partitioning = false)"
            )
        return _Comparison(connection, table, examples).result()


class _Comparison:
    def __init__(self, connection: duckdb.DuckDBPyConnection, table: str, examples: int) -> None:
        self._connection, self._table, self._examples = connection, table, examples
        self._old, self._new = self._types("old"), self._types("new")
        self._common = [name for name in self._new if name in self._old]
        self._rows = (self._count("old_rows"), self._count("new_rows"))

    def result(self) -> TableChange:
        retyped = tuple(n for n in self._common if self._old[n] != self._new[n])
        common = dict(
            table=self._table,
            rows=self._rows,
            new_columns=tuple(name for name in self._new if name not in self._old),
            lost_columns=tuple(name for name in self._old if name not in self._new),
            retyped=retyped,
        )
        ids = () if self._rows == (1, 1) else self._ids()
        if ids is None:
            return TableChange(ids=(), **common, **self._whole_rows())
        self._join(ids)
        return TableChange(ids=ids, **common, **self._matched(ids))

    def _types(self, side: str) -> dict[str, str]:
        rows = self._all(f"DESCRIBE {side}_rows")
        return {row[0]: row[1] for row in rows}

    def _all(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()

    def _count(self, table: str, where: str = "true") -> int:
        return self._all(f"SELECT count(*) FROM {table} WHERE {where}")[0][0]

    def _ids(self) -> tuple[str, ...] | None:
        """Return the leading columns that tell the rows of both versions apart; None if none do."""
        chosen: list[str] = []
        for name in self._common:
            if self._old[name] not in _WHOLE or self._new[name] != self._old[name]:
                continue
            chosen.append(name)
            if all(self._tell_apart(chosen, side) for side in ("old", "new")):
                return tuple(chosen)
        return None

    def _tell_apart(self, names: list[str], side: str) -> bool:
        columns = ", ".join(map(quoted, names))
        found = self._all(f"SELECT count(*) FROM (SELECT DISTINCT {columns} FROM {side}_rows)")
        return found[0][0] == self._rows[side == "new"]

    def _compared(self, name: str) -> str:
        """Return what stands for a column's value in the comparison."""
        column = quoted(name)
        if self._old[name] != self._new[name]:
            return f"hash(CAST({column} AS VARCHAR))"
        if self._new[name] in _NUMBERS:
            return column
        if self._new[name].startswith(_IMAGE):
            return f"md5({column}.bytes)"
        return f"CASE WHEN {column} IS NOT NULL THEN hash({column}) END"

    def _join(self, ids: tuple[str, ...]) -> None:
        """Make the table `matched`: ids, both versions' compared values, what became of the row."""
        values = [name for name in self._common if name not in ids]
        keys = [quoted(name) for name in ids] or ["0"]  # one row on either side
        for side in ("old", "new"):
            columns = [f"{key} AS id{i}" for i, key in enumerate(keys)]
            columns += [f"{self._compared(name)} AS v{i}" for i, name in enumerate(values)]
            self._connection.execute(
                f"CREATE TEMP TABLE {side} AS SELECT true AS there, {', '.join(columns)} "
                f"FROM {side}_rows"
            )
        on = " AND ".join(f"o.id{i} IS NOT DISTINCT FROM n.id{i}" for i in range(len(keys)))
        named = "".join(f"coalesce(o.id{i}, n.id{i}) AS id{i}, " for i in range(len(keys)))
        both = "".join(f", o.v{i} AS o{i}, n.v{i} AS n{i}" for i in range(len(values)))
        differs = " OR ".join(f"o.v{i} IS DISTINCT FROM n.v{i}" for i in range(len(values)))
        self._connection.execute(
            f"CREATE TEMP TABLE matched AS SELECT {named} CASE WHEN o.there IS NULL THEN 'added' "
            f"WHEN n.there IS NULL THEN 'removed' WHEN {differs or 'false'} THEN 'changed' "
            f"ELSE 'same' END AS fate{both} FROM old o FULL JOIN new n ON {on}"
        )

    def _matched(self, ids: tuple[str, ...]) -> dict[str, Any]:
        counts = dict(self._all("SELECT fate, count(*) FROM matched GROUP BY fate"))
        fates = {fate: counts.get(fate, 0) for fate in ("added", "removed", "changed", "same")}
        values = [name for name in self._common if name not in ids]
        columns = [self._column(i, name) for i, name in enumerate(values)] if counts else []
        shown = {fate: self._some(fate, ids) for fate in ("added", "removed") if fates[fate]}
        if fates["changed"]:
            shown["changed"] = self._changed(ids, values)
        return {**fates, "columns": tuple(c for c in columns if c.rows), "examples": shown}

    def _column(self, i: int, name: str) -> ColumnChange:
        where = f"fate = 'changed' AND o{i} IS DISTINCT FROM n{i}"
        rows = self._count("matched", where)
        if not rows or self._new[name] not in _NUMBERS or self._old[name] != self._new[name]:
            return ColumnChange(name, rows)
        step = f"CAST(n{i} AS DOUBLE) - CAST(o{i} AS DOUBLE)"
        mean, largest = self._all(
            f"SELECT avg({step}), max(abs({step})) FROM matched WHERE {where} AND isfinite({step})"
        )[0]
        return ColumnChange(name, rows, mean, largest)

    def _some(self, fate: str, ids: tuple[str, ...]) -> list[dict[str, Any]]:
        order = ", ".join(f"id{i}" for i in range(len(ids)))
        found = self._all(
            f"SELECT {order} FROM matched WHERE fate = '{fate}' ORDER BY {order} "
            f"LIMIT {self._examples}"
        )
        return [dict(zip(ids, row, strict=False)) for row in found]

    def _changed(self, ids: tuple[str, ...], values: list[str]) -> list[dict[str, Any]]:
        """Return the ids of a few changed rows, with the values of the columns that differ."""
        differ = ", ".join(f"o{i} IS DISTINCT FROM n{i}" for i in range(len(values)))
        keys = ", ".join(f"id{i}" for i in range(max(1, len(ids))))
        found = self._all(
            f"SELECT {keys}, {differ} FROM matched WHERE fate = 'changed' ORDER BY {keys} "
            f"LIMIT {self._examples}"
        )
        examples = []
        for row in found:
            key = dict(zip(ids, row, strict=False))
            named = [name for name, yes in zip(values, row[max(1, len(ids)) :], strict=True) if yes]
            old, new = (self._values(side, key, named) for side in ("old", "new"))
            pairs = {n: [o, w] for n, o, w in zip(named, old, new, strict=True)}
            examples.append({"row": key, "columns": pairs})
        return examples

    def _values(self, side: str, key: dict[str, Any], names: list[str]) -> tuple[Any, ...]:
        types = self._old if side == "old" else self._new
        columns = ", ".join(_readable(name, types[name]) for name in names)
        where = " AND ".join(f"{quoted(name)} IS NOT DISTINCT FROM ?" for name in key) or "true"
        sql = f"SELECT {columns} FROM {side}_rows WHERE {where}"
        return tuple(map(_short, self._connection.execute(sql, list(key.values())).fetchall()[0]))

    def _whole_rows(self) -> dict[str, Any]:
        """Compare rows that nothing tells apart: how many of each content either side has."""
        hashes = ", ".join(
            f"coalesce({self._compared(name)}::VARCHAR, '-')" for name in self._common
        )
        for side in ("old", "new"):
            self._connection.execute(
                f"CREATE TEMP TABLE {side} AS SELECT hash({hashes}) AS h, count(*) AS n "
                f"FROM {side}_rows GROUP BY 1"
            )
        sums = self._all(
            "SELECT sum(greatest(coalesce(new.n, 0) - coalesce(old.n, 0), 0)), "
            "sum(greatest(coalesce(old.n, 0) - coalesce(new.n, 0), 0)), "
            "sum(least(coalesce(old.n, 0), coalesce(new.n, 0))) FROM old FULL JOIN new USING (h)"
        )[0]
        added, removed, same = (int(value or 0) for value in sums)
        return {"added": added, "removed": removed, "changed": 0, "same": same}


def _readable(name: str, kind: str) -> str:
    if kind.startswith(_IMAGE):
        column = quoted(name)
        return f"md5({column}.bytes) || ' (' || octet_length({column}.bytes) || ' bytes)'"
    return quoted(name)


def _short(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
