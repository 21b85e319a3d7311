"""Where versions come from, the latest of each recipe, and what decides a key."""

import json

import duckdb
import pyarrow as pa
import pytest

from storage.catalog import query, rebuild_catalog, record_batches
from storage.guard import QueryRefused
from storage.identity import Identity
from storage.runs import finish_run, record_stage, start_run
from storage.store import ArtifactStore
from storage.tables import TableSpec, check_table_name, rows_to_table, schema_text
from tests.storage.store_builders import build


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "it's [odd] *" / "mbpo")


def make(store, stage, table, value=0, inputs=None, columns=(), **facts):
    """Commit a table of one row."""
    spec = TableSpec(table, pa.schema([("value", pa.int64()), *columns]))
    identity = Identity(stage, 1, schema_text([spec]), {"value": value, "deep": {"list": [1, 2]}})
    row = {"value": value} | {name: "own" for name, _ in columns}
    store.write_shard(stage, identity.key, 0, {table: rows_to_table([row], spec)})
    return store.commit(stage, identity.key, [0], tables=[spec], identity=identity,
                        inputs=inputs or {}, **facts)  # fmt: skip


def used(store, run, recipe, **stages):
    start_run(store.root, run, recipe)
    for stage, ref in stages.items():
        record_stage(store.root, run, stage, ref)
    finish_run(store.root, run, "completed")


def asked(store, sql, *parameters):
    return query(store.root, sql, parameters).fetchall()


def test_lineage_knows_every_ancestor_once_and_the_shortest_way_to_it(store):
    a = make(store, "ingest", "samples")
    b = make(store, "score", "scores", inputs={"ingest": a})
    c = make(store, "pair", "groups", inputs={"ingest": a, "score": b})
    d = make(store, "train", "checkpoint", inputs={"pair": c})
    rebuild_catalog(store)
    found = asked(store, "SELECT ancestor, depth, path, in_store FROM lineage WHERE key = ? "
                         "ORDER BY depth, ancestor", d.key)  # fmt: skip
    assert found == [
        (c.short, 1, f"{d.short} < {c.short}", True),
        (a.short, 2, f"{d.short} < {c.short} < {a.short}", True),
        (b.short, 2, f"{d.short} < {c.short} < {b.short}", True),
    ]
    assert asked(store, "SELECT artifact FROM lineage WHERE ancestor_content = ? ORDER BY ALL",
                 a.content) == sorted([(b.short,), (c.short,), (d.short,)])  # fmt: skip
    assert asked(store, "SELECT * FROM lineage WHERE key = ?", a.key) == []


def test_an_ancestor_that_is_gone_is_still_named(store):
    a = make(store, "ingest", "samples")
    b = make(store, "score", "scores", inputs={"ingest": a})
    c = make(store, "pair", "groups", inputs={"score": b})
    (store.path(b) / "manifest.json").unlink()
    rebuild_catalog(store)
    assert asked(store, "SELECT ancestor, in_store FROM lineage WHERE key = ?", c.key) == [
        (b.short, False)  # what it was made from, nobody can say any more
    ]


def test_latest_has_the_last_run_of_each_recipe_also_where_they_share_a_version(store):
    first, second = make(store, "score", "scores", 1), make(store, "score", "scores", 2)
    third = make(store, "score", "scores", 3)
    used(store, "r1", "mbpo", score=third)
    used(store, "r2", "my-recipe's", score=first)
    used(store, "r3", "mbpo", score=second)
    used(store, "r4", "dpo", score=first)
    rebuild_catalog(store)
    sql = "SELECT recipe, key, value FROM scores_latest ORDER BY recipe"
    assert asked(store, sql) == [
        ("dpo", first.key, 1), ("mbpo", second.key, 2), ("my-recipe's", first.key, 1),
    ]  # fmt: skip
    assert asked(store, "SELECT value FROM scores_latest WHERE recipe = 'mbpo'") == [(2,)]
    versions = asked(store, "SELECT recipe, key, shown FROM latest ORDER BY ALL")
    assert versions == [
        ("dpo", first.key, True), ("mbpo", second.key, False), ("my-recipe's", first.key, True),
    ]  # fmt: skip
    assert asked(store, "SELECT value FROM scores") == [(1,)]


def test_a_recipe_without_a_run_record_has_its_last_commit(store):
    make(store, "score", "scores", 1, recipe="mbpo")
    make(store, "score", "scores", 2, recipe="mbpo")
    make(store, "score", "scores", 3, recipe="dpo")
    rebuild_catalog(store)
    found = asked(store, "SELECT recipe, value FROM scores_latest ORDER BY ALL")
    assert found == [("dpo", 3), ("mbpo", 2)]


def test_recipes_whose_tables_have_other_columns_meet_in_one_view(store):
    make(store, "score", "scores", 1, recipe="old")
    make(store, "score", "scores", 2, recipe="new", columns=[("recipe", pa.string())])
    rebuild_catalog(store)
    found = asked(store, "SELECT artifact_recipe, recipe, value FROM scores_latest ORDER BY value")
    assert found == [("old", None, 1), ("new", "own", 2)]


def test_a_filter_on_the_recipe_opens_the_files_of_that_recipe_alone(store):
    for value in range(3):
        make(store, "score", "scores", value, recipe=f"recipe-{value}")
    rebuild_catalog(store)
    sql = "EXPLAIN ANALYZE SELECT value FROM scores_latest WHERE recipe = 'recipe-1'"
    assert "Total Files Read: 1" in asked(store, sql)[0][1]


def test_rollouts_are_the_rows_of_train_rollouts(store):
    make(store, "train", "train_rollouts", 1, recipe="a")
    ref = make(store, "train", "train_rollouts", 2, recipe="b")
    rebuild_catalog(store)
    assert asked(store, "SELECT value FROM rollouts") == [(2,)]
    assert asked(store, "SELECT key, value FROM rollouts_latest WHERE recipe = 'b'") == [
        (ref.key, 2)
    ]
    assert asked(store, "SELECT value FROM rollouts_all ORDER BY ALL") == [(1,), (2,)]


@pytest.mark.parametrize("name", ["rollouts", "lineage", "latest", "scores_latest", "scores_all"])
def test_no_stage_may_take_the_name_of_such_a_view(name):
    with pytest.raises(ValueError, match="taken by the catalogue"):
        check_table_name(name)


def test_what_decides_a_key_is_there_as_json_and_under_dotted_names(store):
    ref = make(store, "score", "scores", 7)
    rebuild_catalog(store)
    ((text,),) = asked(store, "SELECT identity FROM identities WHERE key = ?", ref.key)
    assert json.loads(text) == store.manifest(ref).identity
    values = dict(asked(store, "SELECT name, value FROM identity_values WHERE key = ?", ref.key))
    assert values["config.value"] == "7" and values["config.deep.list"] == "[1,2]"
    assert values["stage"] == '"score"' and values["libraries"] == "{}"
    assert not any(name.startswith("config.deep.list.") for name in values)


def test_a_catalogue_that_is_older_than_a_table_is_rebuilt_when_that_is_asked_for(store):
    make(store, "score", "scores", 1)
    rebuild_catalog(store)
    make(store, "pair", "groups", 2)
    assert asked(store, "SELECT value FROM groups") == [(2,)]
    with pytest.raises(duckdb.CatalogException, match="nonsense"):
        query(store.root, "FROM nonsense")


def test_batches_have_the_types_of_the_query_and_the_limits_of_every_query(store):
    build(store)
    reader = record_batches(store.root, "SELECT image, steps, 1 AS one FROM negatives")
    assert reader.schema.field("image").type == pa.struct(
        [("bytes", pa.binary()), ("path", pa.string())]
    )
    assert reader.read_all().num_rows == 6
    many = record_batches(store.root, "SELECT range AS i FROM range(5000)")
    sizes = [batch.num_rows for batch in many]
    assert sum(sizes) == 5000 and max(sizes) < 5000
    with pytest.raises(QueryRefused, match="COPY"):
        record_batches(store.root, "COPY (SELECT 1) TO 'there.csv'")
    with pytest.raises(duckdb.PermissionException, match="disabled"):
        record_batches(store.root, "FROM read_text('/etc/passwd')")


@pytest.mark.parametrize("sql", ["", " ;", "-- a remark"])
def test_no_query_at_all_is_said_to_be_empty(store, sql):
    build(store)
    for ask in (query, record_batches):
        with pytest.raises(ValueError, match="the query is empty"):
            ask(store.root, sql)


def test_a_long_query_draws_no_progress_among_the_rows(store):
    build(store)
    sql = "SELECT current_setting('enable_progress_bar')"
    assert asked(store, sql) == [(False,)]
