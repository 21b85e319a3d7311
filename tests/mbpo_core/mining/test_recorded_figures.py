"""What is recorded of an attack belongs to the image that is stored."""

import dataclasses

import torch

from mbpo_core.mining.attack import mine_pgd
from mbpo_core.mining.pgd import PGD, pgd
from tests.mbpo_core.tiny_models import random_image

WILD = PGD(epsilon=128 / 255, step_size=128 / 255, steps=7)
"""From one face of the ball to the other: the log-probability goes up and down."""


def test_of_equal_minima_the_first_is_stored_as_it_is_recorded():
    """A function of value 0 everywhere and of slope 1: every iterate is as good as the first."""
    image = random_image(0, 4, 5)

    def level(points):
        return torch.stack([(point - point.detach()).sum() for point in points])

    (result,) = pgd(level, [image], PGD(step_size=4 / 255, steps=3, iterate="best"))
    assert result.logp_trace == (0.0,) * 4
    assert result.best_step == result.chosen_step == 0
    assert torch.equal(result.adversarial, image)


def test_the_last_iterate_has_its_own_figures_where_an_earlier_one_is_lower(tiny_policy, tiny_rows):
    found = mine_pgd(tiny_policy, tiny_rows, WILD)
    best = mine_pgd(tiny_policy, tiny_rows, dataclasses.replace(WILD, iterate="best"))
    assert any(min(mined.logp_trace) < mined.logp_trace[-1] for mined in found)
    for last, lowest in zip(found, best, strict=True):
        assert last.logp_negative == last.logp_reread == last.logp_trace[-1]
        assert lowest.logp_negative == lowest.logp_reread == min(lowest.logp_trace)
        assert last.logp_trace == lowest.logp_trace
