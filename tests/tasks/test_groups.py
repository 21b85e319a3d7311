"""What `pair` makes of the same samples under different recipes."""

from collections import Counter

import pytest

from benchmarks.stages import run_inline
from mbpo_core.recipes import configured
from tests.pipelines import rows

STAGES = ("ingest", "score", "select", "mine", "respond", "pair")
SMALL = {
    "ingest.source.scenes": 5,
    "select.presample": 14,
    "select.k": 14,
    "respond.max_new_tokens": 24,
    "respond.attempts": 2,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("groups") / "store"


def groups(store, name, **changes):
    run_inline(configured(name, SMALL | changes), store, STAGES)
    return [row for row in rows(store, "pair", "groups") if row["stream"] == "offline"]


def texts(group):
    return {candidate["role"]: candidate["text"] for candidate in group["candidates"]}


def whole(found):
    return [group for group in found if group["reason"] is None]


def test_shuffled_pairs_keep_the_texts_and_give_none_to_its_own_prompt(store):
    own = whole(groups(store, "mbpo", **{"mine.steps": 1}))
    shuffled = groups(store, "mbpo", **{"mine.steps": 1, "pair.rejected": "shuffled"})
    assert len(own) > 5
    given = Counter(texts(group)["rejected"] for group in own)
    taken = Counter(texts(group)["rejected"] for group in whole(shuffled))
    assert taken <= given
    lost = [group for group in shuffled if group["reason"] == "equal_to_chosen"]
    assert len(whole(shuffled)) + len(lost) >= len(own)
    before = {group["sample_id"]: texts(group)["rejected"] for group in own}
    moved = [texts(group)["rejected"] != before[group["sample_id"]] for group in whole(shuffled)]
    assert sum(moved) > len(moved) / 2, "texts may be equal by chance, not mostly"
    assert all(len(set(texts(g)[r] for r in ("chosen", "rejected"))) == 2 for g in whole(shuffled))


def test_each_source_gives_a_pair_of_its_own(store):
    found = groups(store, "povid")
    sources = Counter(group["source"] for group in found)
    assert sources == {"negative": 14, "injected": 14}
    assert len({group["group_id"] for group in found}) == 28
    for group in whole(found):
        generated = [c["generated_from"] for c in group["candidates"] if c["role"] == "rejected"]
        assert (generated[0] is None) == (group["source"] == "injected")


def test_the_rejected_image_is_the_mined_one_under_the_chosen_text(store):
    found = groups(store, "mdpo")
    mined = {row["sample_id"]: row for row in rows(store, "mine", "negatives")}
    assert whole(found)
    for group in whole(found):
        by_role = {c["role"]: c for c in group["candidates"]}
        assert set(by_role) == {"chosen", "rejected", "rejected_image"}
        image = by_role["rejected_image"]
        assert image["image_id"] == mined[group["sample_id"]]["negative_id"]
        assert image["text"] == by_role["chosen"]["text"]
        assert by_role["rejected"]["image_id"] == by_role["chosen"]["image_id"]


def test_without_a_source_groups_have_the_chosen_response_alone(store):
    found = groups(store, "sft")
    assert len(whole(found)) == 14
    assert {tuple(texts(group)) for group in found} == {("chosen",)}


def test_a_sample_without_a_negative_is_a_row_that_says_so(store):
    injected = {"respond.sources": ["injected"], "respond.injector": {"kind": "rules"}}
    found = groups(store, "adavip", **injected)
    refused = {group["reason"] for group in found if group["reason"]}
    assert "no_negative:no_object" in refused, refused


def test_difficulty_is_the_stored_entropy(store):
    found = groups(store, "mfpo")
    entropies = {row["sample_id"]: row for row in rows(store, "score", "entropies")}
    assert {row["reason"] for row in rows(store, "score", "scores")} == {"not_scored"}
    for group in found:
        assert group["difficulty"] == entropies[group["sample_id"]]["entropy_mean"]


def test_samples_are_held_out_where_the_selection_takes_all_kinds(store):
    found = groups(store, "sft", **{"select.pool": "all", "pair.held_out": 4})
    assert len(found) == 14
    assert [group["reason"] for group in found].count("held_out") == 4
    assert {group["closed_kind"] for group in found} - {None}, "closed-ended ones are pairs too"
    assert len(whole(found)) == 10
