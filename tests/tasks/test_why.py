"""Why versions differ: a cause for each part, inputs followed to where it began."""

from storage.gc import collect_garbage
from storage.identity import Identity
from storage.reach import Policy
from storage.store import ArtifactStore
from storage.tables import rows_to_table, schema_text
from tasks.why import CONTENT_ALONE, causes_between, former, in_lines, roots, version_before
from tests.storage.chains import ROWS


def make(store, stage, value, inputs=None, recipe="mbpo", **parts):
    """Commit a version whose only row is `value`."""
    named = {name: ref.content for name, ref in (inputs or {}).items()} | parts.pop("external", {})
    made = Identity(stage, 1, schema_text([ROWS]), inputs=named, **{"config": {}, **parts})
    store.write_shard(stage, made.key, 0, {"things": rows_to_table([{"thing_id": value}], ROWS)})
    return store.commit(stage, made.key, [0], tables=[ROWS], identity=made, inputs=inputs or {},
                        recipe=recipe)  # fmt: skip


def chain(store, number, **parts):
    first = make(store, "ingest", number, **parts)
    second = make(store, "mine", number, {"ingest": first})
    return first, second, make(store, "pair", number, {"ingest": first, "mine": second})


def test_an_input_is_followed_to_the_first_cause(tmp_path):
    store = ArtifactStore(tmp_path)
    old, new = chain(store, 1, config={"limit": 1}), chain(store, 2, config={"limit": 2})
    found = causes_between(store, old[2], new[2])
    assert in_lines(found) == [
        f"input ingest changed: {old[0].short} -> {new[0].short}",
        "  config.limit: 1 -> 2",
        f"input mine changed: {old[1].short} -> {new[1].short}",
        f"  input ingest changed: {old[0].short} -> {new[0].short}",
        "    config.limit: 1 -> 2",
    ]
    assert in_lines(roots(found)) == ["config.limit: 1 -> 2"]
    assert causes_between(store, old[0], old[0]) == ()


def test_every_part_is_a_cause_of_its_own(tmp_path):
    store = ArtifactStore(tmp_path)
    old = make(store, "mine", 1, code={"a": "1"}, libraries={"torch": "2.12"}, models={"p": "x"},
               external={"file": "h1"})  # fmt: skip
    new = make(store, "mine", 2, code={"a": "2"}, libraries={"torch": "2.13"}, models={"p": "y"},
               external={"file": "h2"})  # fmt: skip
    found = causes_between(store, old, new)
    assert [cause.part for cause in found] == ["input", "model", "code", "library"]
    assert in_lines(found) == [
        "input file changed", "model p changed", "code: a changed", "library torch: 2.12 -> 2.13",
    ]  # fmt: skip
    assert all(cause.to_dict()["because"] == [] for cause in found)


def test_many_modules_are_counted(tmp_path):
    store = ArtifactStore(tmp_path)
    names = "abcde"
    old, new = (make(store, "mine", n, code=dict.fromkeys(names, str(n))) for n in (1, 2))
    assert in_lines(causes_between(store, old, new)) == ["code: 5 modules changed, a first"]
    assert len(causes_between(store, old, new)) == 5, "all are there for programs"


def test_equal_identities_with_other_bytes(tmp_path):
    store = ArtifactStore(tmp_path)
    (cause,) = causes_between(store, make(store, "mine", 1), make(store, "mine", 2))
    assert cause.part == "content" and cause.said == CONTENT_ALONE


def test_a_former_input_that_was_collected_is_said_to_be_gone(tmp_path):
    store = ArtifactStore(tmp_path)
    old, new = chain(store, 1), chain(store, 2, config={"limit": 2})
    manifest, kept = store.manifest(old[1]), store.path(old[1])
    kept.rename(tmp_path / "aside")
    collect_garbage(store, Policy())  # all goes: nothing holds any of it
    new = chain(store, 2, config={"limit": 2})
    (tmp_path / "aside").rename(kept)
    assert manifest.ref == old[1]
    (cause,) = causes_between(store, old[1], new[1])
    assert cause.said.endswith("(the former one is no longer in the store)")


def test_the_version_before_is_the_recipes_own_if_it_has_one(tmp_path):
    store = ArtifactStore(tmp_path)
    a, b, c = (make(store, "mine", n, config={"n": n}, recipe=recipe)
               for n, recipe in enumerate(("mbpo", "dpo", "mbpo")))  # fmt: skip
    assert former(store, a) is None
    assert former(store, b).ref == a, "of another recipe, where it has none"
    assert former(store, c).ref == a
    assert version_before(store, "mine", "dpo").ref == b
    assert version_before(store, "mine", "sft").ref == c
    assert version_before(store, "train", "mbpo") is None
