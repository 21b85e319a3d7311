import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.objectives.dpo import dpo_losses, implicit_rewards

figures = st.floats(-60, 60, width=32)


@given(figures, figures, figures, figures, st.floats(2**-6, 2, width=32))
def test_loss_is_its_closed_form(chosen, rejected, chosen_reference, rejected_reference, beta):
    found = dpo_losses(
        implicit_rewards(torch.tensor([chosen]), torch.tensor([chosen_reference]), beta),
        implicit_rewards(torch.tensor([rejected]), torch.tensor([rejected_reference]), beta),
    )
    margin = beta * ((chosen - chosen_reference) - (rejected - rejected_reference))
    # log(1 + exp(-x)) without overflow.
    expected = max(-margin, 0) + math.log1p(math.exp(-abs(margin)))
    assert found.item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_where_policy_and_reference_agree_the_loss_is_log_two():
    logps = torch.tensor([-3.0, -250.0])
    rewards = implicit_rewards(logps, logps, 0.1)
    assert rewards.tolist() == [0.0, 0.0]
    torch.testing.assert_close(dpo_losses(rewards, rewards), torch.full((2,), math.log(2)))


def test_gradient_fades_as_the_pair_is_learnt_and_none_goes_to_the_reference():
    chosen = torch.tensor([-9.0, -5.0, 20.0], requires_grad=True)
    rejected = torch.tensor([-4.0, -5.0, -20.0], requires_grad=True)
    reference = torch.full((3,), -5.0, requires_grad=True)
    beta = 0.5
    dpo_losses(
        implicit_rewards(chosen, reference, beta), implicit_rewards(rejected, reference, beta)
    ).sum().backward()
    expected = beta * torch.sigmoid(-beta * (chosen - rejected).detach())
    torch.testing.assert_close(chosen.grad, -expected)
    torch.testing.assert_close(rejected.grad, expected)
    assert reference.grad is None
    assert chosen.grad.abs()[2] < 1e-8 < chosen.grad.abs()[1] < chosen.grad.abs()[0]


def test_a_constant_takes_the_place_of_the_rejected_reward():
    """The margin of MFPO and the anchor of mDPO."""
    rewards = torch.tensor([0.3, -0.2])
    found = dpo_losses(rewards, torch.tensor(0.2))
    torch.testing.assert_close(found, dpo_losses(rewards, torch.full((2,), 0.2)))


def test_half_precision_is_subtracted_in_float32():
    """In bfloat16 both of these are -300: numbers near there are 2 apart."""
    logps = torch.tensor([-300.0]).bfloat16()
    rewards = implicit_rewards(logps, torch.tensor([-300.5]), 0.1)
    assert rewards.dtype == torch.float32
    torch.testing.assert_close(rewards, torch.tensor([0.05]))


@pytest.mark.parametrize("seed", range(3))
def test_with_disjoint_responses_the_chosen_rises_and_the_rejected_falls(seed):
    """Tabular policy over 6 tokens and 4 positions; no token of a position is in both responses."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(4, 6, generator=generator, requires_grad=True)
    tokens = torch.stack([torch.randperm(6, generator=generator)[:2] for _ in range(4)], dim=1)

    def logps():
        return table.log_softmax(-1).expand(2, 4, 6).gather(-1, tokens[..., None])[..., 0].sum(1)

    start = logps().detach()
    rewards = implicit_rewards(logps(), start, 0.1)
    before = dpo_losses(rewards[0], rewards[1])
    before.backward()
    with torch.no_grad():
        table -= table.grad
    after = implicit_rewards(logps(), start, 0.1)
    assert dpo_losses(after[0], after[1]) < before
    assert after[0] > 0 > after[1]


def test_what_it_refuses():
    with pytest.raises(ValueError, match=r"shapes \[2\] and \[1\]"):
        implicit_rewards(torch.zeros(2), torch.zeros(1), 0.1)
    with pytest.raises(ValueError, match="beta must be above 0, got 0"):
        implicit_rewards(torch.zeros(2), torch.zeros(2), 0)
    with pytest.raises(ValueError, match=r"shapes \[2\] and \[1\]"):
        dpo_losses(torch.zeros(2), torch.zeros(1))
