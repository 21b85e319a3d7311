"""One small step of each objective on whole policies: the loss falls, the margin grows."""

import copy

import pytest
import torch

from mbpo_core.objectives.grpo import HybridGRPO
from mbpo_core.objectives.plackett_luce import PlackettLuce
from mbpo_core.objectives.preference import PreferenceLosses
from mbpo_core.objectives.protocol import Counts, ScoredGroup
from mbpo_core.objectives.sft import SFT
from tests.mbpo_core.exact.columns import columns

PAIR = ScoredGroup("pair", "offline", ("chosen", "rejected"))
PROMPT = ScoredGroup("prompt", "online", ("rollout", "rollout"), (1.0, 0.0))
FALL = 1e-3
"""By how much the step shall lower the loss, to first order."""


def hybrid(group, **settings):
    def loss(logps, start):
        counts = Counts(1, 2, sum(map(len, logps)))
        return HybridGRPO(**settings)(logps, start, [group], counts, start).loss

    return loss


def ranked(objective):
    group = ScoredGroup("group", "offline", objective.roles)

    def loss(logps, start):
        return objective(logps, start, [group], Counts(1, len(logps), sum(map(len, logps)))).loss

    return loss


@pytest.mark.parametrize(
    "loss",
    [hybrid(PAIR), hybrid(PAIR, advantages="raw"), hybrid(PROMPT), ranked(PreferenceLosses())],
    ids=["pair", "raw", "online", "dpo"],
)
def test_a_small_step_lowers_the_loss_and_raises_the_margin(policy, rows, loss):
    """Two responses to one prompt and picture, every parameter trained."""
    prompts, responses, images = columns(rows)
    start, moved = stepped(policy, loss, [prompts[0]] * 2, responses[:2], [images[0]] * 2)
    margin = [rows[0].sum() - rows[1].sum() for rows in (start, moved)]
    assert margin[1] > margin[0]


@pytest.mark.parametrize(
    "objective",
    [PreferenceLosses(image=1, margin=1), PlackettLuce(), PreferenceLosses(text=0, image=1), SFT()],
    ids=["mfpo", "adavip", "image", "sft"],
)
def test_a_small_step_lowers_the_loss_of_candidates_under_two_pictures(policy, rows, objective):
    """The chosen response, a rejected one, and the chosen one under a picture turned over."""
    prompts, responses, images = columns(rows)
    found = {
        "chosen": (responses[0], images[0]),
        "rejected": (responses[1], images[0]),
        "rejected_image": (responses[0], images[0].flip(2)),
    }
    taken = [found[role] for role in objective.roles]
    start, moved = stepped(
        policy, ranked(objective), [prompts[0]] * len(taken), *map(list, zip(*taken, strict=True))
    )
    if objective.roles == ("chosen", "rejected_image"):
        margin = [rows[0].sum() - rows[1].sum() for rows in (start, moved)]
        assert margin[1] > margin[0]


def stepped(policy, loss, *arguments):
    """Log-probabilities before and after a step that lowers the loss by `FALL` to first order."""
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
    return start, moved
