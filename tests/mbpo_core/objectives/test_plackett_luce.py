import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from mbpo_core.objectives.dpo import dpo_losses
from mbpo_core.objectives.plackett_luce import (
    PlackettLuce,
    adaptive_weights,
    first_place_losses,
)
from mbpo_core.objectives.preference import PreferenceLosses
from mbpo_core.objectives.protocol import Counts, ScoredGroup

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


# --- AdaViP as an objective -----------------------------------------------------------------------

ROLES = ("chosen", "rejected", "rejected_image")
BETA = 0.1


def three_rows(groups, seed=0):
    """Rows of unequal length in float64, and their reference."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 6, (3 * groups,), generator=generator).tolist()
    draw = lambda n: -8 * torch.rand(n, generator=generator, dtype=torch.float64)  # noqa: E731
    logps = [draw(n).requires_grad_() for n in lengths]
    return logps, [draw(n) for n in lengths]


def of_three(logps, reference, beta=BETA):
    groups = [ScoredGroup(f"g{i}", "offline", ROLES) for i in range(len(logps) // 3)]
    counts = Counts(len(groups), len(logps), sum(map(len, logps)))
    return PlackettLuce(beta)(logps, reference, groups, counts)


def rewards_by_hand(logps, reference, beta=BETA):
    rows = [beta * (a.detach().sum() - b.sum()) for a, b in zip(logps, reference, strict=True)]
    return torch.stack(rows).reshape(-1, 3)


def test_the_objective_is_the_cross_entropy_over_the_rewards_of_its_three_candidates():
    logps, reference = three_rows(4)
    rewards = rewards_by_hand(logps, reference)
    expected = cross_entropy(rewards, torch.zeros(4, dtype=torch.long))
    torch.testing.assert_close(of_three(logps, reference).loss, expected)


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_that_of_equation_13(seed):
    """-beta (1 - p) [grad lp_w - w_text grad lp_l - w_image grad lp_v], to twelve digits."""
    logps, reference = three_rows(2, seed)
    output = of_three(logps, reference)
    output.loss.backward()
    for index, rewards in enumerate(rewards_by_hand(logps, reference)):
        lost = 1 - rewards.softmax(0)[0]
        text = torch.sigmoid(rewards[1] - rewards[2])
        for row, factor in zip(logps[3 * index :], (1.0, -text, -(1 - text)), strict=False):
            slope = -BETA * lost * factor / 2  # two groups
            torch.testing.assert_close(
                row.grad, torch.full_like(row, float(slope)), rtol=1e-12, atol=1e-15
            )


def test_the_logged_weights_are_means_over_the_groups_and_sum_to_one():
    logps, reference = three_rows(5)
    figures = of_three(logps, reference).metrics.values()
    rewards = rewards_by_hand(logps, reference)
    text = torch.sigmoid(rewards[:, 1] - rewards[:, 2]).mean().item()
    assert abs(text - 0.5) > 0.05
    assert figures["weight_text"] == pytest.approx(text)
    assert figures["weight_image"] == pytest.approx(1 - text)
    torch.testing.assert_close(adaptive_weights(rewards)[:, 0].mean().item(), text)


def test_a_rejected_image_that_is_out_of_the_running_leaves_dpo():
    """As its reward falls, the third candidate loses its weight and the loss is DPO's."""
    logps, reference = three_rows(3)
    away = [row if i % 3 < 2 else row - 1e4 for i, row in enumerate(logps)]
    output = of_three(away, reference)
    pairs = [i for i in range(9) if i % 3 < 2]
    groups = [ScoredGroup(f"g{i}", "offline", ROLES[:2]) for i in range(3)]
    dpo = PreferenceLosses(BETA)(
        [logps[i] for i in pairs], [reference[i] for i in pairs], groups, Counts(3, 6, 1)
    )
    torch.testing.assert_close(output.loss, dpo.loss)
    assert output.metrics.values()["weight_text"] == 1


def test_beta_must_be_above_zero():
    with pytest.raises(ValueError, match="beta must be above 0, got 0"):
        PlackettLuce(0)
