import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbpo_core.mining.pgd import FAST, PAPER, PGD, lattice_units, pgd

SIZE = (3, 4, 5)


def random_images(seed, count=2):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randint(0, 256, SIZE, generator=generator, dtype=torch.uint8) for _ in range(count)
    ]


def linear(weights):
    """lp_i(x) = <w_i, x>: the attack has a closed form."""
    return lambda images: torch.stack([(w * x).sum() for w, x in zip(weights, images, strict=True)])


def wavy(images):
    """Smooth, with many turning points: steps of 4/255 overshoot."""
    return torch.stack([(torch.sin(40 * x) + torch.cos(23 * x.flip(-1))).sum() for x in images])


def random_weights(seed, count=2):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(-1, 2, SIZE, generator=generator).float() for _ in range(count)]


radii = st.none() | st.integers(0, 40)
budgets = st.tuples(radii, st.integers(0, 12), st.integers(0, 6))


def config_of(budget, **changes):
    epsilon, step, steps = budget
    epsilon = None if epsilon is None else epsilon / 255
    return PGD(epsilon=epsilon, step_size=step / 255, steps=steps, **changes)


class TestUnits:
    def test_every_multiple_is_understood(self):
        found = [lattice_units(units / 255, "epsilon") for units in range(256)]
        assert found == list(range(256))

    def test_between_two_multiples_names_both(self):
        message = (
            r"epsilon must be a whole multiple of 1/255; 0.03 lies between "
            r"7/255 \(0.02745\) and 8/255 \(0.03137\)"
        )
        with pytest.raises(ValueError, match=message):
            PGD(epsilon=0.03)

    def test_pixels_instead_of_units_are_recognised(self):
        message = r"step_size must be in \[0, 1\], got 8.0 \(did you mean 8 / 255\?\)"
        with pytest.raises(ValueError, match=message):
            PGD(step_size=8.0)

    @pytest.mark.parametrize("value", [-1 / 255, 300.0, math.nan, math.inf])
    def test_nonsense_is_refused_without_a_hint(self, value):
        with pytest.raises(ValueError, match=r"must be in \[0, 1\], got [^?]*$"):
            lattice_units(value, "epsilon")

    def test_settings_are_checked(self):
        with pytest.raises(ValueError, match="steps must be at least 0"):
            PGD(steps=-1)
        with pytest.raises(ValueError, match="'last' or 'best'"):
            PGD(iterate="first")

    def test_presets_are_rows_of_the_papers_table(self):
        assert (PAPER.steps, PAPER.step_size) == (20, 4 / 255)
        assert (FAST.steps, FAST.step_size) == (5, 4 / 255)


@settings(max_examples=60, deadline=None)
@given(budgets, st.integers(0, 2**31), st.sampled_from(["last", "best"]))
def test_stays_on_the_lattice_in_the_ball_and_within_reach(budget, seed, iterate):
    epsilon, step, steps = budget
    images = random_images(seed)
    seen = []

    def logp(points):
        seen.extend(point.detach() for point in points)
        return wavy(points)

    results = pgd(logp, images, config_of(budget, iterate=iterate))
    reach = min(255 if epsilon is None else epsilon, step * steps)
    for point, clean in zip(seen, images * (steps + 1), strict=True):
        levels = (point * 255).round()
        assert torch.equal(levels / 255, point)
        assert 0 <= levels.min() <= levels.max() <= 255
        assert (levels - clean).abs().max() <= reach
    for clean, result in zip(images, results, strict=True):
        distance = (result.adversarial.int() - clean.int()).abs().max().item()
        assert result.adversarial.dtype == torch.uint8
        assert distance <= reach
        assert result.linf == distance / 255
        assert result.status == "ok"
        assert len(result.logp_trace) == steps + 1


@pytest.mark.parametrize("budget", [(0, 4, 5), (16, 4, 0), (16, 0, 5), (None, 4, 0)])
def test_no_budget_is_the_identity(budget):
    images = random_images(0)
    for clean, result in zip(images, pgd(wavy, images, config_of(budget)), strict=True):
        assert torch.equal(result.adversarial, clean)
        assert result.linf == 0
        assert len(set(result.logp_trace)) == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.integers(1, 12), st.integers(0, 2**31))
def test_linear_oracle(epsilon, step, seed):
    """Where the sign never changes, the corner of the ball is reached: clip(x0 - eps sign w)."""
    images, weights = random_images(seed), random_weights(seed + 1)
    steps = math.ceil(epsilon / step)
    results = pgd(linear(weights), images, config_of((epsilon, step, steps)))
    for clean, w, result in zip(images, weights, results, strict=True):
        expected = (clean - epsilon * w.sign()).clamp(0, 255)
        assert torch.equal(result.adversarial.float(), expected)
        assert torch.equal(result.adversarial[w == 0], clean[w == 0])
        recorded = (w * expected / 255).sum().item()
        assert result.logp_trace[-1] == pytest.approx(recorded, abs=1e-4)


def test_without_a_ball_only_the_pixel_range_holds():
    images, weights = random_images(3), random_weights(4)
    results = pgd(linear(weights), images, config_of((None, 51, 5)))
    for clean, w, result in zip(images, weights, results, strict=True):
        expected = torch.where(w > 0, 0, torch.where(w < 0, 255, clean.float()))
        assert torch.equal(result.adversarial.float(), expected)


def test_finds_a_planted_optimum():
    """A trigger image inside the ball, at the bottom of a bowl, is found exactly."""
    images = random_images(5)
    generator = torch.Generator().manual_seed(6)
    hidden = [
        (image.int() + torch.randint(-15, 16, SIZE, generator=generator)).clamp(0, 255)
        for image in images
    ]

    def bowl(points):
        pairs = zip(points, hidden, strict=True)
        return torch.stack([(255 * x - h).square().sum() for x, h in pairs])

    results = pgd(bowl, images, config_of((16, 1, 15)))
    for h, result in zip(hidden, results, strict=True):
        assert torch.equal(result.adversarial.int(), h)
        assert result.logp_trace[-1] == pytest.approx(0, abs=1e-6)


def test_direction_is_down_and_the_negated_function_goes_up():
    images = random_images(7)
    down = pgd(wavy, images, config_of((4, 1, 1)))
    up = pgd(lambda points: -wavy(points), images, config_of((4, 1, 1)))
    for lower, higher in zip(down, up, strict=True):
        assert lower.logp_trace[1] < lower.logp_trace[0]
        assert -higher.logp_trace[1] > -higher.logp_trace[0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_best_is_the_minimum_of_the_trace_and_last_its_end(seed):
    images = random_images(seed)
    budget = (24, 12, 6)
    best = pgd(wavy, images, config_of(budget, iterate="best"))
    last = pgd(wavy, images, config_of(budget, iterate="last"))
    for one, other in zip(best, last, strict=True):
        assert one.logp_trace == other.logp_trace
        assert one.best_step == other.best_step == one.chosen_step
        assert other.chosen_step == len(other.logp_trace) - 1
        for result in (one, other):
            (again,) = wavy([result.adversarial.float() / 255]).tolist()
            assert again == result.logp_trace[result.chosen_step]
        assert one.logp_trace[one.chosen_step] == min(one.logp_trace)


def test_best_and_last_differ_where_steps_overshoot():
    images = random_images(8)
    budget = (24, 12, 6)
    best, *_ = pgd(wavy, images, config_of(budget, iterate="best"))
    last, *_ = pgd(wavy, images, config_of(budget, iterate="last"))
    assert min(best.logp_trace) < last.logp_trace[-1]
    assert not torch.equal(best.adversarial, last.adversarial)


def test_epsilon_per_sample():
    images, weights = random_images(9, 3), random_weights(10, 3)
    config = config_of((255, 4, 3))
    results = pgd(linear(weights), images, config, epsilons=[0.0, 3 / 255, None])
    assert [round(result.linf * 255) for result in results] == [0, 3, 12]


def test_batch_equals_single():
    images = random_images(11, 4)
    together = pgd(wavy, images, config_of((16, 4, 5)))
    for image, result in zip(images, together, strict=True):
        (alone,) = pgd(wavy, [image], config_of((16, 4, 5)))
        assert torch.equal(alone.adversarial, result.adversarial)
        assert alone.logp_trace == result.logp_trace


def test_beats_random_noise_of_the_same_size():
    images = random_images(12)
    results = pgd(wavy, images, config_of((8, 1, 20)))
    generator = torch.Generator().manual_seed(0)
    for clean, result in zip(images, results, strict=True):
        noises = [torch.randint(-8, 9, SIZE, generator=generator) for _ in range(50)]
        tried = [wavy([(clean + n).clamp(0, 255) / 255]).item() for n in noises]
        assert result.logp_trace[-1] < min(tried) - 1


def test_inputs_are_left_alone():
    images = random_images(13)
    before = [image.clone() for image in images]
    pgd(wavy, images, PAPER)
    assert all(torch.equal(a, b) for a, b in zip(images, before, strict=True))


class TestNotFinite:
    """sqrt at 0 has an infinite slope; times 0 it is not a number. Sample 1 has both."""

    images = random_images(14, 3)
    config = config_of((16, 4, 3))

    def broken(self, points):
        values = list(wavy(points))
        values[1] = values[1] + (points[1] * 0).sum().sqrt() * 0
        return torch.stack(values)

    def test_becomes_a_status_and_neighbours_go_on(self):
        found = pgd(self.broken, self.images, self.config)
        expected = pgd(wavy, self.images, self.config)
        assert [result.status for result in found] == ["ok", "nonfinite_gradient", "ok"]
        assert found[1].adversarial is None
        assert len(found[1].logp_trace) == 1
        for index in (0, 2):
            assert torch.equal(found[index].adversarial, expected[index].adversarial)
            assert found[index] == dataclasses.replace(
                expected[index], adversarial=found[index].adversarial
            )

    def test_is_tried_again_once_and_taken_from_there(self):
        calls = []

        def retry(points):
            calls.append(len(points))
            return wavy(points)

        found = pgd(self.broken, self.images, self.config, retry=retry)
        expected = pgd(wavy, self.images, self.config)
        assert [result.retried for result in found] == [False, True, False]
        assert calls == [3] * self.config.steps
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one.adversarial, other.adversarial)

    def test_a_retry_that_fails_too_is_a_status(self):
        found = pgd(self.broken, self.images, self.config, retry=self.broken)
        assert [result.status for result in found] == ["ok", "nonfinite_gradient", "ok"]
        assert found[1].retried

    @pytest.mark.parametrize("value", [math.nan, -math.inf])
    @pytest.mark.parametrize("steps", [0, 3])
    def test_so_does_a_value_that_is_not_finite(self, value, steps):
        def logp(points):
            return torch.stack([x.sum() + (value if i == 1 else 0) for i, x in enumerate(points)])

        config = config_of((16, 4, steps))
        found = pgd(logp, self.images, config)
        assert [result.status for result in found] == ["ok", "nonfinite_logp", "ok"]
        again = pgd(logp, self.images, config, retry=lambda xs: torch.stack([x.sum() for x in xs]))
        assert [result.status for result in again] == ["ok"] * 3
        assert again[1].retried


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="uint8"):
        pgd(wavy, [torch.zeros(SIZE)], PAPER)
    with pytest.raises(ValueError, match="shorter"):
        pgd(wavy, random_images(0), PAPER, epsilons=[0.0])
