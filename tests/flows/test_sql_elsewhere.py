"""The catalogue opened by other programs, as docs/catalogue.md says, and large results."""

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from storage.catalog import query, rebuild_catalog
from storage.store import ArtifactStore
from tests.servers import CHECKOUT
from tests.storage.store_builders import build

PAGE = (CHECKOUT / "docs" / "catalogue.md").read_text()
OPENING = dict(re.findall(r"^\| ([^|]+) \| `(.+?)` \|$", PAGE, re.MULTILINE))
COUNT = "select count(*) as n from negatives join traces using (sample_id)"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a store of the usual name in it, where the statements are typed."""
    build(tmp_path / ".mbpo")
    rebuild_catalog(ArtifactStore(tmp_path / ".mbpo"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def duckdb_shell():
    """Return the shell of DuckDB, in this environment or on the path."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return shutil.which("duckdb", path=places)


def test_the_statement_for_python_opens_it(folder):
    catalog = eval(OPENING["Python, a notebook"], {"duckdb": duckdb})
    with catalog:
        assert catalog.sql(COUNT).fetchall() == [(6,)]
        assert catalog.sql("from parts").df()["rows"].sum() == 12
        with pytest.raises(duckdb.InvalidInputException, match="read-only"):
            catalog.execute("drop view negatives")


def test_the_statement_for_any_duckdb_opens_it(folder):
    with duckdb.connect() as anyone:
        anyone.execute(OPENING["any DuckDB that runs already"])
        assert anyone.execute(COUNT).fetchall() == [(6,)]
        anyone.execute("use memory")
        assert anyone.execute("select count(*) from mbpo.negatives_all").fetchall() == [(6,)]


def test_the_statement_for_the_duckdb_shell_opens_it(folder):
    shell = duckdb_shell()
    if shell is None:
        pytest.skip("no DuckDB shell (pip install duckdb-cli)")
    words = OPENING["the DuckDB shell"].split()
    assert words[0] == "duckdb"

    def typed(text):
        done = subprocess.run(
            [shell, "-csv", *words[1:]], input=text, capture_output=True, text=True
        )
        assert not done.returncode, done.stderr
        return list(csv.reader(io.StringIO(done.stdout)))

    assert typed(COUNT + ";") == [["n"], ["6"]]
    views = query(folder / ".mbpo", "select view_name from duckdb_views() where not internal")
    for (view,) in views.fetchall():
        assert typed(f'select count(*) as n from "{view}";')[0] == ["n"], view
    comments = "select comment from duckdb_views() where view_name = 'lineage';"
    assert "made from" in typed(comments)[1][0]


WRITTEN = """
import resource, sys
from flows.cli import app
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
try:
    app(["sql", sys.argv[1], "--root", sys.argv[2], "--out", sys.argv[3]])
except SystemExit as left:
    assert not left.code, left.code
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_large_result_is_never_held_as_a_whole(folder, ending):
    """Of half a gigabyte of text, which would be more as values of Python, a part is held."""
    sql = "select range as i, repeat('x', 10000) || range as t from range(50000)"
    out = folder / f"rows.{ending}"
    words = [sys.executable, "-c", WRITTEN, sql, str(folder / ".mbpo"), str(out)]
    done = subprocess.run(
        words,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.stdout.strip().isdecimal(), (done.stdout, done.stderr)
    assert int(done.stdout) < 350
    with duckdb.connect() as reader:
        count = f"select count(*), sum(i), sum(strlen(t)) from '{out}'"
        assert reader.execute(count).fetchone()[:2] == (50000, sum(range(50000)))
