"""What is written down of the columns is what they are, no more and no less."""

import pytest

from storage.catalog import query
from storage.dictionary import dictionary
from storage.tables import ALIASES
from tests.tasks.columns_page import PAGE, columns_of, empty_store, page


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return empty_store(tmp_path_factory.mktemp("columns") / "store")


def test_every_column_of_every_view_is_described_and_no_other_in_their_order(store):
    described = {table: list(each.columns) for table, each in dictionary().items()}
    assert described == {table: list(types) for table, types in columns_of(store).items()}
    for each in dictionary().values():
        assert each.about and all(column.meaning for column in each.columns.values())


def test_the_views_that_users_are_promised_are_there(store):
    promised = {
        "samples", "scores", "selection", "negatives", "responses", "groups", "train_steps",
        "rollouts", "metrics", "artifacts", "lineage",
    }  # fmt: skip
    assert promised <= columns_of(store).keys()
    assert columns_of(store)["rollouts"] == columns_of(store)[ALIASES["rollouts"]]


def test_the_comments_of_the_catalogue_are_these_texts(store):
    sql = "select comment from duckdb_columns() where table_name = ? and column_name = ?"
    for place, expected in {
        ("negatives", "linf"): "0 to 1: largest change of a pixel; 4/255 is one step of the paper",
        ("rollouts", "reward"): "what the verifier gave",
        ("shards", "seconds"): dictionary()["shards"].columns["seconds"].comment,
    }.items():
        assert query(store.root, sql, place).fetchall() == [(expected,)]
    views = dict(query(store.root, "select view_name, comment from duckdb_views() "
                                   "where comment is not null").fetchall())  # fmt: skip
    assert views["lineage"] == dictionary()["lineage"].about
    tables = "select count(*) from duckdb_tables() where comment is null"
    assert query(store.root, tables).fetchall() == [(0,)]


def test_the_page_of_columns_is_up_to_date(store):
    assert PAGE.read_text() == page(store), "run python -m tests.tasks.columns_page"
