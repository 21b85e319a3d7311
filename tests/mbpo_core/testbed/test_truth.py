import dataclasses
import itertools
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbpo_core.mining.protocol import MineItem, Region
from mbpo_core.models.protocol import PromptedResponse
from mbpo_core.testbed.questions import QUESTION_KINDS, caption
from mbpo_core.testbed.scenes import CELL, GRID, KINDS, TYPICAL_SHARE, draw, make_scene
from mbpo_core.testbed.truth import (
    TruthFinder,
    TruthInpainter,
    named_object,
    object_mask,
    pixels,
    scene_of,
)
from mbpo_core.testbed.world import scenes, write_world

pool_scenes = st.integers(0, 10**5).map(lambda i: make_scene("pool", i, typical_share=0.5))


def item(scene, image=None):
    image = pixels(draw(scene)) if image is None else image
    row = PromptedResponse("sample-7", [], [], image)
    return MineItem(row, "Describe the image.", caption(scene), f"{scene.name}-describe")


@settings(deadline=None)
@given(pool_scenes)
def test_leaving_the_last_objects_out_is_drawing_only_the_first_ones(scene):
    # A scene of the first objects alone draws the same numbers from the same generator.
    for n in range(1, len(scene.objects) + 1):
        first = dataclasses.replace(scene, objects=scene.objects[:n])
        rest = frozenset(found.kind for found in scene.objects[n:])
        assert draw(scene, rest).tobytes() == draw(first).tobytes()
    assert draw(scene, frozenset()).tobytes() == draw(scene).tobytes()


@settings(deadline=None)
@given(pool_scenes)
def test_an_object_left_out_changes_nothing_else(scene):
    masks = [object_mask(scene, found.kind) for found in scene.objects]
    for found, mask in zip(scene.objects, masks, strict=True):
        row, column = divmod(found.cell, GRID)
        outside = mask.clone()
        top, left = row * CELL, column * CELL
        outside[top : top + CELL, left : left + CELL] = False
        assert mask.sum() >= 100 and not outside.any()
    for one, other in itertools.combinations(masks, 2):
        assert not (one & other).any()
    everything = frozenset(found.kind for found in scene.objects)
    empty = pixels(draw(scene, everything))
    assert (empty == empty[0, 0, 0]).all()


def test_what_a_scene_does_not_hold_cannot_be_left_out():
    scene = make_scene("pool", 0, typical_share=0.5)
    absent = next(kind for kind in KINDS if scene.find(kind) is None)
    with pytest.raises(ValueError, match=f"{scene.name} holds no {absent}"):
        draw(scene, frozenset({absent}))


@pytest.mark.parametrize(
    ("split", "flavour", "seed"), [("pool", None, 4), ("dev", "counter", 0), ("test", "counter", 1)]
)
def test_records_lead_back_to_their_scenes(split, flavour, seed):
    share = 0.5 if flavour is None else TYPICAL_SHARE[flavour]
    for scene in scenes(split, 5, seed=seed, flavour=flavour):
        for kind in QUESTION_KINDS:
            assert scene_of(f"{scene.name}-{kind}", share) == scene


def test_ids_that_are_written_are_ids_that_are_read(tmp_path):
    for record in json.loads(write_world(tmp_path, "pool", 3, seed=2).read_text()):
        assert scene_of(record["id"]).truth() == record["truth"]


@pytest.mark.parametrize("bad", ["", "000000012.jpg", "pool-0-000012", "train-0-000012-color"])
def test_other_ids_are_refused(bad):
    with pytest.raises(ValueError, match="not a record of the embedded world"):
        scene_of(bad)


def test_phrases_name_objects_whatever_color_they_say():
    scene = make_scene("pool", 0, typical_share=0.5)
    first = scene.objects[0]
    absent = next(kind for kind in KINDS if scene.find(kind) is None)
    assert named_object(scene, first.kind) == first
    assert named_object(scene, f"{first.color} {first.kind}") == first
    assert named_object(scene, f"purple {first.kind}") == first
    assert named_object(scene, f"{absent} {first.kind}") == first
    assert named_object(scene, f"{first.kind} {absent}") is None
    assert named_object(scene, "picture") is None


@settings(deadline=None)
@given(st.lists(pool_scenes, min_size=1, max_size=3))
def test_regions_are_the_objects_and_removal_touches_nothing_outside(drawn):
    items = [item(scene) for scene in drawn]
    phrases = [[found.kind for found in scene.objects] + ["wall"] for scene in drawn]
    found = TruthFinder()(items, phrases)
    for scene, one, wanted, regions in zip(drawn, items, phrases, found, strict=True):
        assert [region.phrase for region in regions[:-1]] == wanted[:-1]
        assert regions[-1] is None
        removed = TruthInpainter()([one] * (len(regions) - 1), regions[:-1])
        for kind, region, image in zip(wanted, regions, removed, strict=False):
            changed = (image != one.image).any(dim=0)
            assert torch.equal(changed, region.mask)
            assert image.dtype == torch.uint8 and image.shape == one.image.shape
            assert torch.equal(image, pixels(draw(scene, frozenset({kind}))))


def test_an_image_that_is_not_the_scene_s_is_refused_with_its_sample():
    scene, other = scenes("pool", 2)
    region = Region("x", object_mask(scene, scene.objects[0].kind))
    for image in (pixels(draw(other)), pixels(draw(scene).resize((112, 112)))):
        wrong = item(scene, image)
        with pytest.raises(ValueError, match=r"sample-7.*not that of scene"):
            TruthFinder()([wrong], [["fish"]])
        with pytest.raises(ValueError, match=r"sample-7.*not that of scene"):
            TruthInpainter()([wrong], [region])


def test_the_share_must_be_that_of_the_split():
    (scene,) = scenes("dev", 1, flavour="counter")
    assert TruthFinder(share=0.0)([item(scene)], [[]]) == [[]]
    with pytest.raises(ValueError, match="typical share 1"):
        TruthFinder(share=1.0)([item(scene)], [[]])


def test_a_region_of_another_finder_is_refused():
    scene = make_scene("pool", 3, typical_share=0.5)
    mask = object_mask(scene, scene.objects[0].kind)
    mask[0, 0] = ~mask[0, 0]
    with pytest.raises(ValueError, match="the truth removes only what the truth found"):
        TruthInpainter()([item(scene)], [Region(scene.objects[0].kind, mask)])
