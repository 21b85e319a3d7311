"""docs/columns.md, written from the real catalogue: `python -m tests.tasks.columns_page`."""

import tempfile
from pathlib import Path

from storage.catalog import query, rebuild_catalog
from storage.dictionary import dictionary
from storage.identity import Identity
from storage.store import ArtifactStore
from storage.tables import ALIASES, rows_to_table, schema_text
from tasks.comparison import Compare
from tasks.registry import STAGES
from tests.servers import CHECKOUT

PAGE = CHECKOUT / "docs" / "columns.md"
HEAD = """# Columns of the catalogue

Written by `python -m tests.tasks.columns_page` from a catalogue with every table and from
`storage/sql/columns.toml`; a test compares all three. Types are DuckDB's. `<table>_latest` has
`recipe` and `key` besides, `<table>_all` has `key` and `content`; see [catalogue.md](catalogue.md).
"""
OWN_TABLES = [*STAGES.values(), Compare("a", "b", 1, 0)]
"""All stages that write tables; `Lmms` writes `metrics` too."""


def empty_store(root: Path) -> ArtifactStore:
    """Return a store with every table of every stage, without rows, and its catalogue."""
    store = ArtifactStore(root)
    for stage in OWN_TABLES:
        made = Identity(stage.name, 1, schema_text(stage.tables), {})
        tables = {spec.name: rows_to_table([], spec) for spec in stage.tables}
        store.write_shard(stage.name, made.key, 0, tables)
        store.commit(stage.name, made.key, [0], tables=stage.tables, identity=made)
    rebuild_catalog(store)
    return store


def columns_of(store: ArtifactStore) -> dict[str, dict[str, str]]:
    """Return the types of the columns of every table and plain view."""
    sql = """
        select table_name, column_name, data_type from duckdb_columns()
        where database_name = 'catalog' and not contains(table_name, '__')
          and not regexp_matches(table_name, '_(all|latest)$')
        order by table_name, column_index
    """
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in query(store.root, sql).fetchall():
        found.setdefault(table, {})[column] = kind
    return found


def page(store: ArtifactStore) -> str:
    """Return the text of the page."""
    types = columns_of(store)
    sections = []
    for table, described in dictionary().items():
        if table in ALIASES:
            continue
        lines = [
            f"| `{name}` | {types[table][name]} | {column.unit} | {column.meaning} |"
            for name, column in described.columns.items()
        ]
        head = f"## {table}\n\n{described.about[0].upper()}{described.about[1:]}.\n"
        table_head = "| column | type | unit | meaning |\n|---|---|---|---|"
        sections.append("\n".join([head, table_head, *lines]))
    return HEAD + "\n" + "\n\n".join(sections).replace("<", r"\<") + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(empty_store(Path(folder) / "store")))
