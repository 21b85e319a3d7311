"""The whole pipeline on a data set of poison: it ends, loses nothing, and spares the good rows."""

import json
from collections import Counter

import pytest

from storage.store import ArtifactStore
from tasks.pipeline import Choice
from tasks.registry import STAGES
from tests import poison
from tests.pipelines import rows, run, runtime, small_recipe

GOOD = 12
ALONE = {f"{stage}.batch_tokens": 16 for stage in ("score", "mine", "respond", "answer")}
"""Every row a pack of its own: what it stands next to changes the last bits of its figures."""
LATER = ("scores", "negatives", "responses")


def recipe_on(path):
    source = {"kind": "files", "path": str(path), "image_root": str(path.parent)}
    changes = {"ingest.source": source, "ingest.limit": None, "select.k": 500, "pair.held_out": 2,
               "train.max_steps": 1, "mine.steps": 1, "respond.attempts": 1,
               "respond.shard_rows": 64, "mine.shard_rows": 64} | ALONE  # fmt: skip
    return small_recipe(**{name.replace(".", "__"): value for name, value in changes.items()})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Roots of a run on good records alone, and of one with poison between them."""
    folder = tmp_path_factory.mktemp("poison")
    good = poison.good(folder, GOOD)
    bad, expected = poison.poison(folder)
    mixed = [each for n, one in enumerate(good) for each in (*bad[n::GOOD], one)]
    how = {"max_failures": 1.0}
    alone = recipe_on(poison.write(folder / "good.json", good))
    run(alone, runtime(folder / "alone", **how), Choice(only=("ingest", "score", "select", "mine",
                                                              "respond")))  # fmt: skip
    run(recipe_on(poison.write(folder / "mixed.json", mixed)), runtime(folder / "mixed", **how))
    return folder / "alone", folder / "mixed", mixed, expected


def test_every_record_is_a_row_with_the_reason_that_is_its_own(runs):
    _, root, mixed, expected = runs
    samples = rows(root, "ingest", "samples")
    assert {row["source_index"] for row in samples} == set(range(len(mixed)))
    assert len({row["sample_id"] for row in samples}) == len(samples)
    found = {row["source_id"]: row for row in samples}
    nameless = Counter(row["reason"] for row in samples if not row["source_id"])
    assert nameless == {"malformed_record": 2}
    named = {name: expected[name] for name in expected.keys() - {"no_object", "nothing"}}
    assert {name: found[name]["reason"] for name in named} == named
    twice = [row["reason"] for row in samples if row["source_id"] == "good-0"]
    assert sorted(twice, key=str) == [None, None, "duplicate"]


def test_every_id_has_its_rows_in_every_stage_with_a_reason_where_it_is_refused(runs):
    _, root, _, _ = runs
    samples = rows(root, "ingest", "samples")
    usable = {row["sample_id"] for row in samples if row["reason"] is None}
    scores = {row["sample_id"]: row for row in rows(root, "score", "scores")}
    assert scores.keys() == usable
    names = {row["source_id"]: row["sample_id"] for row in samples}
    for name in ("long_question", "long_word", "long_options"):
        assert scores[names[name]]["reason"] == "too_long"
    assert {row["sample_id"] for row in rows(root, "select", "selection")} == usable
    mined = {row["sample_id"] for row in rows(root, "mine", "negatives")}
    assert {row["sample_id"] for row in rows(root, "respond", "responses")} == mined
    closed = {row["sample_id"] for row in samples if row["closed_kind"] and not row["reason"]}
    groups = rows(root, "pair", "groups")
    assert {row["sample_id"] for row in groups} == mined | closed
    trained = {row["group_id"]: row for row in rows(root, "train", "train_groups")}
    assert trained.keys() == {row["group_id"] for row in groups}
    assert all(row["uses"] or row["reason"] for row in trained.values())
    asked = {row["asked_id"] for row in rows(root, "ask", "questions")}
    answered = Counter(row["asked_id"] for row in rows(root, "answer", "answers"))
    assert answered == dict.fromkeys(asked, 2)
    assert len(rows(root, "evaluate", "predictions")) == 2 * len(asked)
    for stage in STAGES:
        store = ArtifactStore(root)
        reasons = store.manifest(store.resolve(stage)).reasons
        assert not [r for found in reasons.values() for r in found if r.startswith("error")], stage


def test_good_rows_are_byte_for_byte_those_of_a_run_without_poison(runs):
    alone, root, _, _ = runs
    kept = rows(alone, "ingest", "samples")
    mixed = {row["sample_id"]: row for row in rows(root, "ingest", "samples")}
    for row in kept:
        assert mixed[row["sample_id"]] | {"source_index": row["source_index"]} == row
    for stage, table in zip(("score", "mine", "respond"), LATER, strict=True):
        expected = rows(alone, stage, table)
        found = {row["sample_id"]: row for row in rows(root, stage, table)}
        assert expected
        for row in expected:
            assert json.dumps(found[row["sample_id"]], default=bytes.hex) == json.dumps(
                row, default=bytes.hex
            ), (stage, row["sample_id"])
