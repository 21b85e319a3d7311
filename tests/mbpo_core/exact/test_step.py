"""One small step of each objective on whole policies: the loss falls, the margin grows."""

import copy

import pytest
import torch

from mbpo_core.objectives.dpo import dpo_losses, implicit_rewards
from mbpo_core.objectives.grpo import HybridGRPO
from mbpo_core.objectives.plackett_luce import first_place_losses
from mbpo_core.objectives.protocol import Counts, ScoredGroup
from tests.mbpo_core.exact.columns import columns

PAIR = ScoredGroup("pair", "offline", ("chosen", "rejected"))
PROMPT = ScoredGroup("prompt", "online", ("rollout", "rollout"), (1.0, 0.0))
BETA = 0.1
FALL = 1e-3
"""By how much the step shall lower the loss, to first order."""


def hybrid(group, **settings):
    def loss(logps, start):
        counts = Counts(1, 2, sum(map(len, logps)))
        return HybridGRPO(**settings)(logps, start, [group], counts, start).loss

    return loss


def rewards_of(logps, start):
    return implicit_rewards(
        *(torch.stack([r.sum() for r in rows]) for rows in (logps, start)), BETA
    )


def dpo(logps, start):
    return dpo_losses(*rewards_of(logps, start))


def plackett_luce(logps, start):
    return first_place_losses(rewards_of(logps, start))


@pytest.mark.parametrize(
    "loss",
    [hybrid(PAIR), hybrid(PAIR, advantages="raw"), hybrid(PROMPT), dpo, plackett_luce],
    ids=["pair", "raw", "online", "dpo", "plackett-luce"],
)
def test_a_small_step_lowers_the_loss_and_raises_the_margin(policy, rows, loss):
    """Two responses to one prompt and picture, every parameter trained."""
    prompts, responses, images = columns(rows)
    arguments = [prompts[0]] * 2, responses[:2], [images[0]] * 2
    parameters = list(policy.model.parameters())

    logps = policy.token_logps(*arguments)
    start = [row.detach() for row in logps]
    before = loss(logps, start)
    gradients = torch.autograd.grad(before, parameters)
    step = FALL / torch.nn.utils.get_total_norm(gradients) ** 2
    weights = copy.deepcopy(policy.model.state_dict())
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= step * gradient
        moved = policy.token_logps(*arguments)
        after = loss(moved, start)
    assert any(not torch.equal(weights[n], p) for n, p in policy.model.state_dict().items())
    assert after < before
    assert (before - after).item() == pytest.approx(FALL, rel=0.1)
    margin = [rows[0].sum() - rows[1].sum() for rows in (start, moved)]
    assert margin[1] > margin[0]
