"""Garbage collection: what stays and why, and what goes."""

from datetime import UTC, datetime, timedelta

import pytest

from storage.catalog import query, rebuild_catalog
from storage.errors import StoreError
from storage.gc import collect_garbage, examine_garbage
from storage.reach import Policy
from storage.runs import in_progress
from storage.store import ArtifactStore
from storage.tables import rows_to_table
from storage.tags import Tag, delete_tag, write_tag
from tests.storage.chains import ROWS, chain, left, make, record


def test_the_reasons_are_said(tmp_path):
    store = ArtifactStore(tmp_path)
    old, new, tagged = chain(store, 0), chain(store, 1), make(store, "third", 9)
    record(store, "r0", old)
    record(store, "r1", new)
    write_tag(store.root, Tag("paper", ref=tagged))
    found = examine_garbage(store, Policy(keep_runs=1))
    assert {going.ref: going.why for going in found.go} == dict.fromkeys(old, "held by nothing")
    assert found.go[0].ref == old[2] and found.go[-1].ref == old[0], "consumers go first"
    whys = {stays.name: stays.whys for stays in found.stay}
    assert whys[tagged.short] == ("tag paper",)
    assert whys[new[0].short] == ("run r1, of the last 1 of mbpo",)
    delete_tag(store.root, "paper")
    assert tagged in {going.ref for going in examine_garbage(store, Policy(1)).go}


def test_a_run_in_progress_keeps_what_it_uses_and_one_that_died_does_not(tmp_path):
    store = ArtifactStore(tmp_path)
    old, new = chain(store, 0), chain(store, 1)
    record(store, "r0", old[:2], status="running")
    record(store, "r1", new)
    with in_progress(store.root, "r0"):
        assert {going.ref for going in examine_garbage(store, Policy(1)).go} == {old[2]}
        collect_garbage(store, Policy(1))
    assert left(store) == {*old[:2], *new}
    collect_garbage(store, Policy(1))
    assert left(store) == set(new)


def test_a_key_that_somebody_holds_is_left_alone_with_all_its_inputs(tmp_path):
    store = ArtifactStore(tmp_path)
    first, second, _ = chain(store, 0)
    with store.lock("second", second.key):
        done = collect_garbage(store, Policy())
        assert {going.ref for going in done.left} == {first, second}
        assert left(store) == {first, second}
    collect_garbage(store, Policy())
    assert not left(store)


def test_a_checkpoint_that_a_recipe_names_by_its_folder_is_reached(tmp_path):
    """As `eval model train/1a2b` does: the run's inputs do not name it."""
    store = ArtifactStore(tmp_path)
    model, answers = make(store, "first", 0), make(store, "second", 1)
    settings = {"policy": {"name": f"/elsewhere/artifacts/first/{model.directory}/files/model"}}
    record(store, "r0", [answers], config=settings)
    assert not examine_garbage(store, Policy()).go


def test_age_and_what_no_run_can_make_again(tmp_path):
    store = ArtifactStore(tmp_path)
    chain(store, 0)
    month = timedelta(days=30)
    assert not examine_garbage(store, Policy(older_than=month)).go
    later = datetime.now(UTC) + 2 * month
    assert len(examine_garbage(store, Policy(older_than=month), now=later).go) == 3

    def paid(manifest):
        return "paid for" if manifest.ref.stage == "second" else None

    found = examine_garbage(store, Policy(irreplaceable=paid))
    assert [going.ref.stage for going in found.go] == ["third"]
    with pytest.raises(ValueError, match="at least one run"):
        Policy(keep_runs=0)


def test_staging_goes_when_nobody_came_back_to_it(tmp_path):
    store = ArtifactStore(tmp_path)
    table = rows_to_table([{"thing_id": 1}], ROWS)
    for key in ("aa", "bb"):
        store.write_shard("first", key, 0, {"things": table})
    assert not examine_garbage(store, Policy()).go
    later = datetime.now(UTC) + timedelta(days=8)
    with store.lock("first", "aa"):
        (going,) = examine_garbage(store, Policy(), now=later).go
    assert (going.kind, going.key) == ("staging", "bb") and going.bytes > 0
    collect_garbage(store, Policy(older_than=timedelta(0)))
    assert not list((store.root / "staging").glob("*/*"))


def test_quarantine_goes_only_when_asked(tmp_path):
    store = ArtifactStore(tmp_path)
    (tmp_path / "quarantine" / "runs").mkdir(parents=True)
    (tmp_path / "quarantine" / "runs" / "x").write_text("damaged")
    assert not collect_garbage(store, Policy()).gone
    assert len(collect_garbage(store, Policy(), quarantine=True).gone) == 1
    assert not (tmp_path / "quarantine").exists()


def test_records_that_cannot_be_read_stop_it(tmp_path):
    store = ArtifactStore(tmp_path)
    refs = chain(store, 0)
    write_tag(store.root, Tag("paper", ref=refs[2]))
    for file in (tmp_path / "tags" / "paper.json", tmp_path / "runs" / "r.json"):
        file.parent.mkdir(exist_ok=True)
        text = file.read_text() if file.exists() else None
        file.write_text("{")
        with pytest.raises(StoreError, match="cannot be read"):
            collect_garbage(store, Policy())
        file.unlink() if text is None else file.write_text(text)
    assert left(store) == set(refs)


def test_the_catalogue_answers_afterwards(tmp_path):
    store = ArtifactStore(tmp_path)
    old, new = chain(store, 0), chain(store, 1)
    record(store, "r0", old)
    record(store, "r1", new)
    rebuild_catalog(store)
    collect_garbage(store, Policy(1))
    assert query(tmp_path, "select count(*) from artifacts").fetchone() == (6,), "not yet rebuilt"
    rebuild_catalog(store)
    assert query(tmp_path, "select count(*) from artifacts").fetchone() == (3,)


def test_a_tag_cannot_be_set_on_what_is_gone(tmp_path):
    store = ArtifactStore(tmp_path)
    (ref,) = [make(store, "first", 0)]
    collect_garbage(store, Policy())
    with pytest.raises(LookupError, match="no longer"):
        write_tag(store.root, Tag("late", ref=ref))
