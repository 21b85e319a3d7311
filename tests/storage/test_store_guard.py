"""A query reads its store and nothing else."""

import os
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from storage.catalog import CATALOG_NAME, query, rebuild_catalog
from storage.guard import QueryRefused
from storage.store import ArtifactStore
from tests.storage.store_builders import build


@pytest.fixture
def store(tmp_path):
    """A store whose path DuckDB would take for a pattern, with one artifact."""
    store = ArtifactStore(tmp_path / "it's [odd] *" / "mbpo")
    build(store, {"steps": 1}, shards=(0, 1))
    rebuild_catalog(store)
    return store


@pytest.fixture
def secret(tmp_path):
    (tmp_path / "secret.txt").write_text("word\n")
    return tmp_path / "secret.txt"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM negatives",
        "FROM negatives_all LIMIT 1",
        "WITH a AS (SELECT 1) FROM a",
        "DESCRIBE negatives",
        "SUMMARIZE SELECT rows FROM parts",
        "SHOW TABLES",
        "SHOW ALL TABLES",
        "EXPLAIN SELECT * FROM negatives",
        "EXPLAIN ANALYZE SELECT * FROM negatives",
        "PIVOT parts ON table_name IN ('negatives', 'traces') USING sum(rows)",
        "SELECT 1; SELECT * FROM traces",
    ],
)
def test_whatever_only_reads_is_answered(store, sql):
    assert query(store.root, sql).fetchall()


def test_every_view_can_be_read(store):
    for (name,) in query(store.root, "SELECT view_name FROM duckdb_views() WHERE NOT internal "
                                     "AND database_name = 'catalog'").fetchall():  # fmt: skip
        rows = query(store.root, f'FROM "{name}"').fetchall()
        assert rows or name == "lineage", name  # one artifact, made from nothing


def test_a_file_of_the_store_can_be_read_by_its_name(store):
    ((path,),) = query(store.root, "SELECT path FROM parts LIMIT 1").fetchall()
    pattern = "".join(f"[{c}]" if c in "*?[" else c for c in path)
    assert query(store.root, f"FROM read_parquet({quoted(pattern)})").fetchall()


def quoted(value):
    return "'" + str(value).replace("'", "''") + "'"


@pytest.mark.parametrize(
    "sql",
    [
        "FROM read_text({secret})",
        "FROM read_csv({secret})",
        "FROM read_blob({secret})",
        "FROM {secret}",
        "FROM read_text('/etc/passwd')",
        "FROM read_text({root} || '/../../secret.txt')",
        "FROM glob({folder} || '/*')",
        "FROM read_text('http://127.0.0.1:1/x')",
        "FROM query('FROM read_text(''/etc/passwd'')')",
        "FROM read_duckdb({secret})",
    ],
)
def test_no_other_file_is_read(store, secret, sql):
    text = sql.format(secret=quoted(secret), root=quoted(store.root), folder=quoted(secret.parent))
    with pytest.raises(duckdb.Error, match=r"disabled|does not exist"):
        query(store.root, text).fetchall()


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("COPY (SELECT 1) TO {new}", "COPY"),
        ("COPY (SELECT 1) TO {part}", "COPY"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO {new}", "COPY"),
        ("explain /* */ analyze COPY (SELECT 1) TO {new}", "EXPLAIN|COPY"),
        ("EXPLAIN (ANALYZE) COPY (SELECT 1) TO {new}", "EXPLAIN|COPY"),
        ("SELECT 1; COPY (SELECT 1) TO {new}", "COPY"),
        ("PREPARE p AS COPY (SELECT 1) TO {new}", "PREPARE"),
        ("EXPORT DATABASE {new}", "EXPORT"),
        ("ATTACH {new} AS other", "ATTACH"),
        ("INSTALL httpfs", "LOAD"),
        ("LOAD httpfs", "LOAD"),
        ("SET enable_external_access = true", "SET"),
        ("RESET lock_configuration", "SET"),
        ("PRAGMA enable_profiling", "PRAGMA|SET"),
        ("CREATE TABLE t AS SELECT 1", "CREATE"),
        ("CREATE TEMP TABLE t AS SELECT 1", "CREATE"),
        ("CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')", "CREATE"),
        ("DROP VIEW negatives", "DROP"),
        ("DELETE FROM parts", "DELETE"),
        ("USE memory", "SET"),
        ("CALL pragma_version()", "CALL"),
        ("CHECKPOINT", "CALL"),
    ],
)
def test_nothing_is_written_attached_loaded_or_set(store, sql, kind):
    ((part,),) = query(store.root, "SELECT path FROM parts LIMIT 1").fetchall()
    before = sorted(store.root.rglob("*")), Path(part).read_bytes()
    try:
        with pytest.raises(QueryRefused, match=f"expected SELECT, got ({kind})"):
            query(store.root, sql.format(new=quoted(store.root / "new"), part=quoted(part)))
    except duckdb.ParserException:  # spellings that this DuckDB does not know are refused too
        assert sql.casefold().startswith("explain")
    assert (sorted(store.root.rglob("*")), Path(part).read_bytes()) == before


def test_the_connection_itself_is_locked(store):
    """Whoever goes on with the connection that a query returns finds it as confined."""
    connection = query(store.root, "SELECT 1")
    for sql in ("SET enable_external_access = true", "SET allowed_directories = ['/']",
                "SET lock_configuration = false", "RESET enable_external_access"):  # fmt: skip
        with pytest.raises(duckdb.InvalidInputException, match="locked"):
            connection.execute(sql)
    for sql in ("LOAD httpfs", "INSTALL httpfs"):
        with pytest.raises(duckdb.PermissionException):
            connection.execute(sql)


def test_variables_of_the_program_are_no_tables(store):
    hidden = pq.read_table(next(store.root.rglob("negatives-*.parquet")))
    assert hidden.num_rows
    with pytest.raises(duckdb.CatalogException, match="hidden"):
        query(store.root, "FROM hidden")


def test_external_lifts_it_but_for_the_catalogue(store, secret, tmp_path):
    sql = f"SELECT content FROM read_text({quoted(secret)})"
    assert query(store.root, sql, external=True).fetchall() == [("word\n",)]
    out = tmp_path / "out.csv"
    query(store.root, f"COPY (SELECT rows FROM parts) TO {quoted(out)}", external=True)
    assert out.read_text().splitlines()[0] == "rows"
    with pytest.raises(duckdb.InvalidInputException, match="read-only"):
        query(store.root, "DROP VIEW negatives", external=True)


def test_a_relative_root_and_one_behind_a_link(store, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(store.root)
    assert query(tmp_path / "link", "FROM negatives").fetchall()
    monkeypatch.chdir(store.root.parent)
    assert query("mbpo", "FROM negatives").fetchall()


def test_a_store_that_was_moved_is_read_where_it_is(store, tmp_path):
    os.rename(store.root, tmp_path / "elsewhere")
    assert query(tmp_path / "elsewhere", "FROM negatives").fetchall()
    with duckdb.connect(str(tmp_path / "elsewhere" / CATALOG_NAME), read_only=True) as plain:
        assert plain.execute("FROM negatives").fetchall()
