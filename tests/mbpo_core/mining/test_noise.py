import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbpo_core.mining.noise import (
    CELL,
    DiffusionNoise,
    UniformNoise,
    alpha_bars,
    diffuse,
    random_cells,
    uniform_noise,
)
from tests.mbpo_core.mining.mine_items import mine_item, mine_items
from tests.mbpo_core.tiny_models import random_image

SIDES = st.integers(1, 9)
SEEDS = st.integers(0, 2**63 - 1)
LARGE = (280, 280)


def grey(level, size=LARGE):
    return torch.full((3, *size), level, dtype=torch.uint8)


def unit_pixels(image):
    return image.double() / 127.5 - 1


class TestSchedule:
    def test_has_the_printed_values(self):
        found = alpha_bars()
        assert found.shape == (1000,) and found.dtype == torch.float64
        assert round(found[500].item(), 3) == 0.745
        assert round(found[900].item(), 3) == 0.133
        # One step beside, the printed digits would be others.
        assert round(found[499].item(), 3) != 0.745
        assert round(found[899].item(), 3) != 0.133

    def test_follows_the_recursion(self):
        found, alpha = alpha_bars(7), 1.0
        for step in range(7):
            slope = 1 / (1 + math.exp(6 - 12 * step / 6))
            alpha *= 1 - (slope * (0.005 - 1e-5) + 1e-5)
            assert found[step].item() == pytest.approx(alpha, rel=1e-12)

    def test_needs_two_steps(self):
        with pytest.raises(ValueError, match="got 1"):
            alpha_bars(1)


class TestDiffuse:
    @pytest.mark.parametrize("t", [100, 500])
    @pytest.mark.parametrize("level", [96, 128, 150])
    def test_has_the_mean_and_variance_of_the_closed_form(self, t, level):
        alpha, x = alpha_bars()[t].item(), level / 127.5 - 1
        pixels = unit_pixels(diffuse(grey(level), t, seed=level)).flatten()
        deviation = math.sqrt(1 - alpha)
        # The normal law on a fine grid, what is beyond the ends moved to them.
        sigmas = torch.linspace(-8, 8, 200_001, dtype=torch.float64)
        weight = torch.softmax(-(sigmas**2) / 2, dim=0)
        clipped = (math.sqrt(alpha) * x + deviation * sigmas).clamp(-1, 1)
        mean = (weight * clipped).sum().item()
        variance = (weight * clipped**2).sum().item() - mean**2
        n = pixels.numel()
        assert pixels.mean().item() == pytest.approx(mean, abs=5 * math.sqrt(variance / n))
        # Rounding adds a twelfth of a squared level.
        expected = variance + 1 / 127.5**2 / 12
        assert pixels.var().item() == pytest.approx(expected, rel=5 * math.sqrt(2 / n))

    @pytest.mark.parametrize("t", [0, 100, 500, 900])
    def test_the_inverse_gives_the_same_noise_at_every_t(self, t):
        image = random_image(1, 84, 84)
        eps = torch.randn(3, 84, 84, generator=torch.Generator().manual_seed(7), dtype=torch.double)
        alpha = alpha_bars()[t].item()
        noisy = unit_pixels(diffuse(image, t, seed=7))
        inner = noisy.abs() < 1
        found = (noisy - math.sqrt(alpha) * unit_pixels(image)) / math.sqrt(1 - alpha)
        rounding = 0.5 / 127.5 / math.sqrt(1 - alpha) + 1e-9
        assert inner.float().mean() > 0.2
        assert (found - eps)[inner].abs().max() <= rounding
        # What was clipped lay beyond the end at which it is.
        beyond = math.sqrt(alpha) * unit_pixels(image) + math.sqrt(1 - alpha) * eps
        assert (beyond * noisy)[~inner].min() >= 1 - 0.5 / 127.5

    def test_more_steps_leave_less_of_the_image(self):
        image = random_image(0, 84, 84)
        apart = [
            (diffuse(image, t, 0).float() - image.float()).abs().mean().item()
            for t in (0, 100, 300, 500, 700, 999)
        ]
        assert apart[0] < 1
        assert apart == sorted(apart)

    @settings(deadline=None, max_examples=30)
    @given(SIDES, SIDES, st.integers(0, 999), SEEDS, st.data())
    def test_outside_the_mask_nothing_changes_inside_it_is_the_whole_noise(
        self, height, width, t, seed, data
    ):
        image = random_image(seed % 1000, height, width)
        flags = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
        mask = torch.tensor(flags).reshape(height, width)
        before = image.clone()
        whole, part = diffuse(image, t, seed), diffuse(image, t, seed, mask)
        assert part.dtype == torch.uint8 and part.shape == image.shape
        assert torch.equal(part[:, ~mask], image[:, ~mask])
        assert torch.equal(part[:, mask], whole[:, mask])
        assert torch.equal(image, before)

    def test_channels_and_pixels_are_independent(self):
        noise = unit_pixels(diffuse(grey(128), 200, seed=3))
        noise = noise - noise.mean()
        r, g, _ = noise.flatten(1)
        for one, other in ((r, g), (r[1:], r[:-1])):
            correlation = (one * other).mean() / noise.var()
            assert abs(correlation) < 5 / math.sqrt(one.numel())

    @pytest.mark.parametrize("t", [-1, 1000, 500.0, True])
    def test_refuses_a_step_outside_the_schedule(self, t):
        with pytest.raises(ValueError, match="0 to 999"):
            diffuse(random_image(0), t, 0)
        with pytest.raises(ValueError, match="0 to 999"):
            DiffusionNoise(run_seed=0, t=t)

    @pytest.mark.parametrize("mask", [torch.ones(5, 4).bool(), torch.ones(4, 5)])
    def test_refuses_a_mask_that_does_not_fit(self, mask):
        with pytest.raises(ValueError, match=r"bool \[4, 5\]"):
            diffuse(random_image(0, 4, 5), 500, 0, mask)

    def test_refuses_a_float_image(self):
        with pytest.raises(ValueError, match="uint8"):
            diffuse(torch.zeros(3, 4, 4), 500, 0)


class TestUniform:
    def test_every_level_of_the_ball_is_equally_likely(self):
        units = 4
        noise = uniform_noise(grey(100), units / 255, seed=5).int() - 100
        counts = torch.bincount(noise.flatten() + units)
        expected = noise.numel() / (2 * units + 1)
        assert len(counts) == 2 * units + 1
        # Chi square with 8 degrees of freedom; 40 is beyond one in a hundred thousand.
        assert ((counts - expected) ** 2 / expected).sum() < 40

    @settings(deadline=None, max_examples=30)
    @given(SIDES, SIDES, st.integers(0, 255), SEEDS)
    def test_stays_in_the_ball_and_in_range(self, height, width, units, seed):
        image = random_image(seed % 1000, height, width)
        found = uniform_noise(image, units / 255, seed)
        assert found.dtype == torch.uint8 and found.shape == image.shape
        assert (found.int() - image.int()).abs().max() <= units
        assert torch.equal(found, uniform_noise(image, units / 255, seed))

    def test_is_clipped_not_wrapped(self):
        assert uniform_noise(grey(0, (28, 28)), 16 / 255, 0).max() <= 16
        assert uniform_noise(grey(255, (28, 28)), 16 / 255, 0).min() >= 239

    def test_refuses_what_is_between_two_levels(self):
        with pytest.raises(ValueError, match="whole multiple"):
            UniformNoise(run_seed=0, epsilon=0.03)


class TestRandomCells:
    @settings(deadline=None, max_examples=50)
    @given(st.integers(1, 200), st.integers(1, 200), st.floats(0.01, 1), SEEDS)
    def test_covers_the_share_with_whole_cells_and_not_one_too_many(
        self, height, width, share, seed
    ):
        mask = random_cells(height, width, share, seed)
        cells = [
            mask[top : top + CELL, left : left + CELL]
            for top in range(0, height, CELL)
            for left in range(0, width, CELL)
        ]
        assert all(cell.all() or not cell.any() for cell in cells)
        covered, goal = mask.sum().item(), share * mask.numel()
        assert covered >= goal - 1e-6
        # Without its last cell it would not reach: the last is at most the largest.
        largest = max(cell.numel() for cell in cells if cell.any())
        assert covered - largest < goal

    def test_a_fifth_of_a_grid_that_divides_is_exact(self):
        assert random_cells(140, 140, 0.2, seed=1).double().mean() == 0.2

    def test_every_cell_has_its_turn(self):
        often = sum(random_cells(84, 84, 0.1, seed).double() for seed in range(900))
        per_cell = often[::CELL, ::CELL]
        # One of nine cells each time: 100 +- 9.4.
        assert per_cell.sum() == 900
        assert (per_cell - 100).abs().max() < 47

    @pytest.mark.parametrize("share", [0, -0.1, 1.5])
    def test_refuses_a_share_outside_its_range(self, share):
        with pytest.raises(ValueError, match="share"):
            random_cells(84, 84, share, 0)
        with pytest.raises(ValueError, match="share"):
            DiffusionNoise(run_seed=0, share=share)


class TestAlterations:
    def test_random_cells_carry_the_noise_of_the_whole_image(self):
        items = mine_items()
        whole = DiffusionNoise(run_seed=3)(items)
        random = DiffusionNoise(run_seed=3, scope="random")(items)
        for item, all_of_it, some in zip(items, whole, random, strict=True):
            changed = (some.image != item.image).any(dim=0)
            assert (all_of_it.scope, some.scope) == ("whole", "random")
            assert all_of_it.area == 1.0
            assert torch.equal(some.image[:, changed], all_of_it.image[:, changed])
            # A pixel that keeps all three levels by chance is rare.
            assert 0.97 * some.area < changed.double().mean() <= some.area
            assert 0.2 <= some.area < 0.2 + CELL**2 / changed.numel()

    def test_t_only_scales_the_noise(self):
        (weak,) = DiffusionNoise(run_seed=0, t=200)([mine_item(grey(128))])
        (strong,) = DiffusionNoise(run_seed=0, t=400)([mine_item(grey(128))])
        pair = torch.stack([unit_pixels(weak.image).flatten(), unit_pixels(strong.image).flatten()])
        assert torch.corrcoef(pair)[0, 1] > 0.98

    def test_refuses_an_unknown_scope(self):
        with pytest.raises(ValueError, match="regions"):
            DiffusionNoise(run_seed=0, scope="regions")
