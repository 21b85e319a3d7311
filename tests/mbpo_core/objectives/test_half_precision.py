"""Losses of pairs take rows in half precision and compute in float32."""

import torch

from mbpo_core.objectives.dpo import dpo_losses, implicit_rewards
from mbpo_core.objectives.plackett_luce import first_place_losses

FAR, NEAR = torch.tensor([-100.5, -3.0]).bfloat16(), torch.tensor([-0.3, -2.9]).bfloat16()
"""Their differences have more digits than bfloat16 holds."""


def test_differences_of_half_precision_rows_keep_their_digits():
    exact = FAR.float() - NEAR.float()
    assert not torch.equal(exact, (FAR - NEAR).float())
    assert torch.equal(implicit_rewards(FAR, NEAR, 0.5), 0.5 * exact)
    assert torch.equal(dpo_losses(NEAR, FAR), dpo_losses(NEAR.float(), FAR.float()))
    rewards = torch.stack([FAR, NEAR], dim=-1)
    assert torch.equal(first_place_losses(rewards), first_place_losses(rewards.float()))
