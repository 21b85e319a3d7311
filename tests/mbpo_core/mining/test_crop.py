import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mbpo_core.mining.crop import Crop, crop_and_resize, random_box
from tests.mbpo_core.mining.mine_items import mine_item
from tests.mbpo_core.tiny_models import random_image

SEEDS = st.integers(0, 2**63 - 1)


def kept_share(height, width, box):
    left, top, right, bottom = box
    return (right - left) * (bottom - top) / (height * width)


class TestRandomBox:
    @settings(deadline=None)
    @given(st.integers(1, 40), st.integers(1, 40), SEEDS)
    def test_keeps_one_to_twenty_percent_of_any_image(self, rows, columns, seed):
        height, width = 28 * rows, 28 * columns
        left, top, right, bottom = box = random_box(height, width, 0.01, 0.2, seed)
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        assert 0.01 - 1e-9 <= kept_share(height, width, box) <= 0.2 + 1e-9

    @pytest.mark.parametrize(("least", "most"), [(0.01, 0.02), (0.17, 0.2)])
    def test_rounding_to_pixels_does_not_leave_the_bounds(self, least, most):
        shares = [kept_share(28, 28, random_box(28, 28, least, most, seed)) for seed in range(300)]
        assert least <= min(shares) < max(shares) <= most

    @settings(deadline=None)
    @given(st.integers(1, 30), st.integers(1, 30), st.floats(0.001, 1), SEEDS)
    def test_is_inside_the_image_at_any_share_and_size(self, height, width, share, seed):
        left, top, right, bottom = random_box(height, width, share, share, seed)
        assert 0 <= left < right <= width and 0 <= top < bottom <= height

    def test_everything_may_be_kept(self):
        assert random_box(56, 84, 1, 1, seed=4) == (0, 0, 84, 56)

    def test_shares_are_uniform_and_aspects_stay_between_their_bounds(self):
        boxes = [random_box(840, 840, 0.01, 0.2, seed) for seed in range(2000)]
        shares = np.array([kept_share(840, 840, box) for box in boxes])
        # A uniform law has mean 0.105, deviation 0.19 / sqrt(12); five standard errors.
        assert shares.mean() == pytest.approx(0.105, abs=5 * 0.19 / 12**0.5 / 2000**0.5)
        quarters = np.histogram(shares, np.linspace(0.01, 0.2, 5))[0]
        assert abs(quarters - 500).max() < 5 * (2000 * 0.25 * 0.75) ** 0.5
        logs = np.log([(right - left) / (bottom - top) for left, top, right, bottom in boxes])
        assert abs(logs).max() < np.log(4 / 3) + 0.02
        assert abs(logs.mean()) < 0.02
        assert logs.std() == pytest.approx(2 * np.log(4 / 3) / 12**0.5, rel=0.1)

    def test_places_are_spread_over_the_whole_image(self):
        boxes = np.array([random_box(280, 280, 0.01, 0.05, seed) for seed in range(500)])
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        assert (np.histogram(middles[:, 0], [0, 93, 187, 280])[0] > 100).all()
        assert (np.histogram(middles[:, 1], [0, 93, 187, 280])[0] > 100).all()
        assert boxes[:, :2].min() == 0 and boxes[:, 2:].max() == 280

    @pytest.mark.parametrize(("least", "most"), [(0, 0.2), (0.3, 0.2), (0.1, 1.1)])
    def test_refuses_shares_out_of_range(self, least, most):
        with pytest.raises(ValueError, match="least <= most"):
            random_box(56, 56, least, most, 0)
        with pytest.raises(ValueError, match="least <= most"):
            Crop(run_seed=0, least=least, most=most)


class TestCropAndResize:
    def test_is_pillows_own_crop_and_resize(self):
        image = random_image(0, 56, 84)
        box = (7, 3, 40, 29)
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        expected = np.asarray(picture.crop(box).resize((84, 56), Image.Resampling.BICUBIC))
        assert np.array_equal(crop_and_resize(image, box).permute(1, 2, 0).numpy(), expected)

    def test_the_whole_image_comes_back_as_it_was(self):
        image = random_image(1, 56, 84)
        assert torch.equal(crop_and_resize(image, (0, 0, 84, 56)), image)

    def test_what_is_outside_of_the_box_does_not_count(self):
        image = torch.full((3, 56, 84), 255, dtype=torch.uint8)
        image[:, 10:20, 30:50] = torch.tensor([10, 20, 30], dtype=torch.uint8)[:, None, None]
        found = crop_and_resize(image, (30, 10, 50, 20))
        assert found.flatten(1).unique(dim=1).tolist() == [[10], [20], [30]]

    def test_refuses_a_float_image(self):
        with pytest.raises(ValueError, match="uint8"):
            crop_and_resize(torch.zeros(3, 8, 8), (0, 0, 4, 4))


def test_the_kept_share_is_recorded():
    # Every pixel has a colour of its own, so that the kept ones can be counted.
    place = torch.arange(84 * 84).reshape(84, 84)
    image = torch.stack([place // 256, place % 256, torch.zeros_like(place)]).to(torch.uint8)
    for seed in range(10):
        (found,) = Crop(run_seed=seed)([mine_item(image)])
        assert 0.01 <= found.area <= 0.2
        # Bicubic overshoots the ends by a little: rows of the image show in the first channel.
        span = (found.image[0].max().item() - found.image[0].min().item() + 1) * 256 / 84
        assert found.area <= (span + 6) / 84
        assert (found.scope, found.reason, found.image.shape) == ("whole", None, image.shape)
