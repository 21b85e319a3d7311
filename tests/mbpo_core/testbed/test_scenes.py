import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.testbed.scenes import (
    CELL,
    COLORS,
    GRID,
    IMAGE_SIZE,
    KINDS,
    MAX_OBJECTS,
    MIN_OBJECTS,
    TYPICAL_COLOR,
    draw,
    make_scene,
    owner,
)
from mbpo_core.testbed.shapes import SHAPES

FAMILIES = ("base", "pool", "dev", "test")
families = st.sampled_from(FAMILIES)
indices = st.integers(0, 10**6)


def test_every_kind_has_a_shape_and_a_color():
    assert set(SHAPES) == set(KINDS)
    assert set(TYPICAL_COLOR.values()) <= set(COLORS)
    assert IMAGE_SIZE == GRID * CELL == 84


@given(families, indices, st.integers(0, 5), st.floats(0, 1))
def test_equal_seeds_give_equal_scenes_and_pixels(family, index, seed, share):
    first = make_scene(family, index, seed=seed, typical_share=share)
    second = make_scene(family, index, seed=seed, typical_share=share)
    assert first == second
    assert draw(first).tobytes() == draw(second).tobytes()
    assert draw(first).size == (IMAGE_SIZE, IMAGE_SIZE)


@given(families, indices)
def test_a_scene_is_well_formed_and_owned_by_its_family(family, index):
    scene = make_scene(family, index, typical_share=0.5)
    cells = [found.cell for found in scene.objects]
    kinds = [found.kind for found in scene.objects]
    assert MIN_OBJECTS <= len(cells) <= MAX_OBJECTS
    assert cells == sorted(set(cells))
    assert len(set(kinds)) == len(kinds)
    assert owner(tuple(zip(cells, kinds, strict=True))) == family


def test_families_share_no_layout_and_no_image():
    drawn = {
        family: [make_scene(family, i, typical_share=0.5) for i in range(400)]
        for family in FAMILIES
    }
    layouts = {
        family: {tuple((o.cell, o.kind) for o in scene.objects) for scene in scenes}
        for family, scenes in drawn.items()
    }
    images = {family: {draw(s).tobytes() for s in scenes} for family, scenes in drawn.items()}
    for one in FAMILIES:
        for other in FAMILIES:
            if one != other:
                assert not layouts[one] & layouts[other]
                assert not images[one] & images[other]


@pytest.mark.parametrize(("share", "expected"), [(1.0, {True}), (0.0, {False})])
def test_evaluation_flavours_keep_or_break_every_prior(share, expected):
    scenes = [make_scene("test", i, typical_share=share) for i in range(200)]
    assert {found.is_typical for scene in scenes for found in scene.objects} == expected


def test_flavours_are_paired_scene_by_scene():
    for index in range(50):
        plain = make_scene("dev", index, typical_share=1.0)
        broken = make_scene("dev", index, typical_share=0.0)
        assert [(o.cell, o.kind) for o in plain.objects] == [
            (o.cell, o.kind) for o in broken.objects
        ]
        assert plain.drawing_seed == broken.drawing_seed


def test_a_sixth_makes_all_colors_equally_likely():
    scenes = [make_scene("base", i, typical_share=1 / 6) for i in range(3000)]
    colors = [found.color for scene in scenes for found in scene.objects if found.kind == "leaf"]
    for color in COLORS:
        assert colors.count(color) / len(colors) == pytest.approx(1 / 6, abs=0.04)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="family must be one of"):
        make_scene("train", 0, typical_share=0.5)
    with pytest.raises(ValueError, match="typical_share must be in"):
        make_scene("base", 0, typical_share=97)
