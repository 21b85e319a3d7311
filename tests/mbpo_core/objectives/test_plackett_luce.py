import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from mbpo_core.objectives.dpo import dpo_losses
from mbpo_core.objectives.plackett_luce import first_place_losses

figures = st.floats(-30, 30, width=32)


def rewards_of(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)


@given(figures, figures)
def test_of_two_it_is_dpo(chosen, rejected):
    pair = torch.tensor([chosen, rejected], dtype=torch.float64)
    torch.testing.assert_close(first_place_losses(pair), dpo_losses(pair[0], pair[1]))


def test_gradient_of_two_is_that_of_dpo():
    rewards = rewards_of(5, 2)
    (ours,) = torch.autograd.grad(first_place_losses(rewards).sum(), rewards)
    (theirs,) = torch.autograd.grad(dpo_losses(rewards[:, 0], rewards[:, 1]).sum(), rewards)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_is_the_cross_entropy_of_the_first(size):
    rewards = rewards_of(4, size)
    expected = cross_entropy(rewards, torch.zeros(4, dtype=torch.long), reduction="none")
    torch.testing.assert_close(first_place_losses(rewards), expected)


def test_equal_rewards_cost_the_logarithm_of_their_number():
    assert first_place_losses(torch.zeros(2, 3)).tolist() == pytest.approx([math.log(3)] * 2)


@pytest.mark.parametrize("seed", range(3))
def test_adaptive_weights_are_the_softmax_over_the_two_rejected(seed):
    """Eq. 13 of AdaViP: w_text = s(D_text - D_image), w_image = 1 - w_text."""
    rewards = rewards_of(3, seed=seed)
    (gradient,) = torch.autograd.grad(first_place_losses(rewards), rewards)
    lost = 1 - rewards.softmax(0)[0]
    text = torch.sigmoid(rewards[1] - rewards[2])
    torch.testing.assert_close(
        gradient, lost * torch.stack([-torch.ones_like(text), text, 1 - text])
    )


def test_a_common_shift_and_the_order_of_the_rejected_do_not_count():
    rewards = rewards_of(4, 5)
    turned = rewards[:, [0, 4, 2, 1, 3]] + 2.5
    torch.testing.assert_close(first_place_losses(turned), first_place_losses(rewards))


def test_far_apart_rewards_stay_finite_and_half_precision_is_widened():
    far = torch.tensor([-2000.0, 2000.0, 0.0])
    assert first_place_losses(far).item() == 4000.0
    assert first_place_losses(far.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("shape", [(), (1,), (3, 1)])
def test_one_candidate_is_refused(shape):
    with pytest.raises(ValueError, match="at least two"):
        first_place_losses(torch.zeros(shape))
