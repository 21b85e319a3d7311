"""Single steps of the attack on functions whose gradient is known."""

import torch

from mbpo_core.mining.pgd import PGD, pgd
from tests.mbpo_core.tiny_models import random_image


def test_every_pixel_moves_a_full_step_however_small_its_gradient():
    image = random_image(0, 4, 5)
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(1)) ** 3

    def slope(points):
        return torch.stack([(weights * point).sum() for point in points])

    (result,) = pgd(slope, [image], PGD(step_size=4 / 255, steps=1))
    expected = (image - 4 * weights.sign()).clamp(0, 255)
    assert torch.equal(result.adversarial.float(), expected)


def test_of_equal_minima_the_first_is_stored_as_it_is_recorded():
    """A function of value 0 everywhere and of slope 1: every iterate is as good as the first."""
    image = random_image(0, 4, 5)

    def level(points):
        return torch.stack([(point - point.detach()).sum() for point in points])

    (result,) = pgd(level, [image], PGD(step_size=4 / 255, steps=3, iterate="best"))
    assert result.logp_trace == (0.0,) * 4
    assert result.best_step == result.chosen_step == 0
    assert torch.equal(result.adversarial, image)
