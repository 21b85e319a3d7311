"""What is filled, with what, and what is left alone."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbpo_core.mining.inpainting import LamaInpainter, OpenCVInpainter, grown
from mbpo_core.mining.protocol import MineItem, Region
from mbpo_core.models.protocol import PromptedResponse
from tests.mbpo_core.tiny_models import random_image


def region(height, width, top, left, bottom, right):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return Region("thing", mask)


def item_of(image):
    return MineItem(PromptedResponse("a", [1], [2], image), "q", "a")


class Network(torch.nn.Module):
    """Shows in its output what it was given: red is the mask, green and blue are the image's."""

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        assert image.shape[2] % 8 == 0 and image.shape[3] % 8 == 0
        assert mask.shape == (1, 1, image.shape[2], image.shape[3])
        return torch.cat([mask, image[:, 1:]], dim=1)


class Corner(torch.nn.Module):
    """Paints everything with the last pixel of its padded input."""

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return image[:, :, -1:, -1:].expand_as(image)


class Wrong(torch.nn.Module):
    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return image[:, :2]


class NotFinite(torch.nn.Module):
    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return image / (mask * 0)


class Bright(torch.nn.Module):
    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return image + 1


@pytest.fixture
def lama(tmp_path):
    def build(network, **settings):
        torch.jit.script(network).save(tmp_path / "lama.pt")
        return LamaInpainter(tmp_path / "lama.pt", **settings)

    return build


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 3), st.integers(0, 2**31))
def test_a_grown_mask_is_all_that_is_near(height, width, grow, seed):
    mask = torch.from_numpy(np.random.default_rng(seed).random((height, width)) < 0.2)
    here = mask.nonzero()
    for row in range(height):
        for column in range(width):
            distances = (here - torch.tensor([row, column])).abs().amax(dim=1)
            near = bool((distances <= grow).any())
            assert bool(grown(mask, grow)[row, column]) == near


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(["telea", "ns"]), st.integers(0, 4), st.integers(0, 2**31))
def test_only_the_grown_mask_changes(method, grow, seed):
    draw = np.random.default_rng(seed)
    image = random_image(seed, 28, 56)
    found = Region("thing", torch.from_numpy(draw.random((28, 56)) < 0.05))
    inpaint = OpenCVInpainter(method, grow=grow)
    (filled,) = inpaint([item_of(image)], [found])
    assert filled.dtype == torch.uint8 and filled.shape == image.shape
    kept = ~grown(found.mask, grow)
    assert torch.equal(filled[:, kept], image[:, kept])
    assert torch.equal(filled, inpaint([item_of(image)], [found])[0])


@pytest.mark.parametrize(("method", "levels"), [("telea", 4), ("ns", 0)])  # Telea's is rounding
def test_an_object_on_a_plain_ground_leaves_no_trace(method, levels):
    ground = torch.tensor([200, 30, 90], dtype=torch.uint8)[:, None, None].expand(3, 56, 84)
    image = ground.clone()
    image[:, 20:40, 30:50] = torch.tensor([0, 255, 10], dtype=torch.uint8)[:, None, None]
    tight = region(56, 84, 22, 32, 38, 48)  # two pixels short of the object's outline on each side

    def trace(grow):
        (filled,) = OpenCVInpainter(method, grow=grow)([item_of(image)], [tight])
        return int((filled.int() - ground.int()).abs().max())

    assert trace(2) <= levels
    assert trace(1) > 100


def test_methods_differ_and_radius_matters():
    image, found = random_image(0), region(56, 84, 10, 10, 30, 40)
    images = [
        OpenCVInpainter(*settings)([item_of(image)], [found])[0]
        for settings in [("telea", 3), ("ns", 3), ("telea", 6)]
    ]
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


def test_each_pair_has_its_own_result_and_a_full_mask_none():
    images = [random_image(0), random_image(1, 84, 56), random_image(0)]
    regions = [
        region(56, 84, 0, 0, 20, 20),
        region(84, 56, 40, 20, 84, 56),
        region(56, 84, 1, 1, 55, 83),  # grown, it is the whole image
    ]
    items = [item_of(image) for image in images]
    filled = OpenCVInpainter()(items, regions)
    assert torch.equal(filled[0], OpenCVInpainter()(items[:1], regions[:1])[0])
    assert torch.equal(filled[1], OpenCVInpainter()(items[1:2], regions[1:2])[0])
    assert torch.equal(filled[2], images[2])
    assert OpenCVInpainter()([], []) == []


def test_settings_and_sizes_that_do_not_fit_are_refused(tmp_path, lama):
    with pytest.raises(ValueError, match="telea or ns, got 'lama'"):
        OpenCVInpainter("lama")
    for setting in ({"radius": 0}, {"grow": -1}):
        with pytest.raises(ValueError, match="radius must be at least 1 and grow at least 0"):
            OpenCVInpainter(**setting)
    with pytest.raises(ValueError, match="grow must be at least 0, got -1"):
        lama(Network(), grow=-1)
    for inpaint in (OpenCVInpainter(), lama(Network())):
        with pytest.raises(ValueError, match=r"a: mask of 'thing' is \[28, 28\]"):
            inpaint([item_of(random_image(0))], [region(28, 28, 0, 0, 2, 2)])


def test_without_opencv_the_error_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match="needs opencv-python-headless"):
        OpenCVInpainter()([item_of(random_image(0))], [region(56, 84, 0, 0, 9, 9)])


def test_lama_is_given_image_and_grown_mask_and_changes_only_there(lama):
    image, found = random_image(0, 28, 84), region(28, 84, 4, 5, 12, 30)
    (filled,) = lama(Network(), grow=3)([item_of(image)], [found])
    mask = grown(found.mask, 3)
    expected = image.clone()
    expected[0, mask] = 255  # red is the mask; the image's own levels come back bit for bit
    assert torch.equal(filled, expected)


def test_lama_reads_images_extended_by_their_mirror_image(lama):
    image, found = random_image(0, 28, 84), region(28, 84, 0, 0, 28, 84)
    (filled,) = lama(Corner(), grow=0)([item_of(image)], [found])
    # 28 and 84 are four short of 32 and 88: the last of the added pixels is the fourth from the end
    assert torch.equal(filled, image[:, 24:25, 80:81].expand_as(image))


def test_lama_output_is_clipped_and_checked(lama):
    items, regions = [item_of(random_image(0))], [region(56, 84, 0, 0, 9, 9)]
    assert (lama(Bright(), grow=0)(items, regions)[0][:, :9, :9] == 255).all()
    for network in (Wrong(), NotFinite()):
        with pytest.raises(ValueError, match=r"a: LaMa must return finite \[1, 3, 56, 88\]"):
            lama(network)(items, regions)


def test_a_file_that_is_no_network_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="LaMa network not found"):
        LamaInpainter(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no network")
    with pytest.raises(RuntimeError):
        LamaInpainter(tmp_path / "text.pt")
