from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.identity import Identity, canonical_json, changes
from storage.store import ArtifactStore
from tests.storage.store_builders import build, identity

BASE = Identity(
    stage="mine",
    version=1,
    schema="negatives(id string)",
    config={"steps": 20, "optimiser": {"kind": "sign", "epsilon": 0.0625}},
    inputs={"samples": "aa"},
    models={"policy": "m1"},
    code={"mbpo_core.mining.pgd": "c1"},
    libraries={"torch": "2.12"},
)


def explain(old, new):
    return [change.said for change in changes(old, new)]


numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | numbers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), plain))
def test_canonical_json_ignores_order_and_nothing_else(value):
    backwards = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(backwards)
    assert explain({"config": value}, {"config": backwards}) == []


def test_canonical_json_tells_look_alikes_apart_and_refuses_what_is_not_json():
    assert len({canonical_json(v) for v in (1, 1.0, True, "1", None)}) == 5
    assert canonical_json((1, 2)) == canonical_json([1, 2]) == "[1,2]"
    with pytest.raises(TypeError, match=r"value\.a has the name 1; names must be strings"):
        canonical_json({"a": {1: 2}})
    with pytest.raises(TypeError, match=r"value\.a\[1\] is a set"):
        canonical_json({"a": [0, {1}]})
    with pytest.raises(ValueError, match=r"value\.a is nan"):
        canonical_json({"a": float("nan")})


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ({}, []),
        ({"version": 2}, ["version: 1 -> 2"]),
        ({"schema": "x"}, ["row schema changed"]),
        ({"config": {"steps": 5}}, ["config.optimiser.epsilon: 0.0625 -> (absent)",
                                    'config.optimiser.kind: "sign" -> (absent)',
                                    "config.steps: 20 -> 5"]),
        ({"inputs": {"samples": "bb"}}, ["input samples changed"]),
        ({"inputs": {"scores": "bb"}}, ["input samples removed", "input scores added"]),
        ({"models": {"policy": "m2"}}, ["model policy changed"]),
        ({"code": {"mbpo_core.mining.pgd": "c2"}}, ["code: mbpo_core.mining.pgd changed"]),
        ({"libraries": {"torch": "2.13"}}, ["library torch: 2.12 -> 2.13"]),
    ],
)  # fmt: skip
def test_every_part_changes_the_key_and_is_explained(change, lines):
    other = replace(BASE, **change)
    assert (other.key == BASE.key) == (not change)
    assert explain(BASE.to_dict(), other.to_dict()) == lines


def test_the_most_meaningful_change_comes_first():
    other = replace(
        BASE, libraries={"torch": "3"}, code={}, config={"steps": 5}, inputs={"samples": "b"}
    )
    words = [line.split()[0] for line in explain(BASE.to_dict(), other.to_dict())]
    assert words == ["config.optimiser.epsilon:", "config.optimiser.kind:", "config.steps:",
                     "input", "code:", "library"]  # fmt: skip


def test_a_number_that_changes_only_its_type_is_explained():
    other = replace(BASE, config=BASE.config | {"steps": 20.0})
    assert other.key != BASE.key
    assert explain(BASE.to_dict(), other.to_dict()) == ["config.steps: 20 -> 20.0"]


def test_early_cut_off_equal_bytes_upstream_leave_the_key_downstream(tmp_path):
    store = ArtifactStore(tmp_path)
    refs = [
        build(store, {"steps": steps}, shade=shade) for steps, shade in ((1, 0), (2, 0), (3, 9))
    ]
    assert len({ref.key for ref in refs}) == 3
    same, equal, different = [replace(BASE, inputs={"negatives": r.content}).key for r in refs]
    assert same == equal != different


def test_an_identity_read_from_a_manifest_has_no_differences(tmp_path):
    store = ArtifactStore(tmp_path)
    ref = build(store, {"sizes": (1, 2), "nested": {"a": None}})

    fresh = identity(sizes=(1, 2), nested={"a": None})
    assert explain(store.manifest(ref).identity, fresh.to_dict()) == []
