"""Objectives on a policy that is a table: every token of every position has a logit of its own."""

import pytest
import torch

from mbpo_core.objectives.dpo import implicit_rewards
from mbpo_core.objectives.grpo import HybridGRPO
from mbpo_core.objectives.plackett_luce import first_place_losses
from mbpo_core.objectives.protocol import Counts, ScoredGroup

POSITIONS, TOKENS, LENGTH_OF_STEP = 4, 6, 0.05


class Table:
    """Responses of one length that share no token at any position."""

    def __init__(self, responses, seed):
        generator = torch.Generator().manual_seed(seed)
        self.logits = torch.randn(POSITIONS, TOKENS, generator=generator, requires_grad=True)
        drawn = [torch.randperm(TOKENS, generator=generator) for _ in range(POSITIONS)]
        self.tokens = torch.stack([order[:responses] for order in drawn], dim=1)

    def logps(self):
        every = self.logits.log_softmax(-1).expand(len(self.tokens), -1, -1)
        return list(every.gather(-1, self.tokens[..., None])[..., 0])

    def descend(self, loss):
        (gradient,) = torch.autograd.grad(loss, self.logits)
        with torch.no_grad():
            self.logits -= LENGTH_OF_STEP * gradient


def sums(rows):
    return torch.stack([row.sum() for row in rows]).detach()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("aggregate", ["sample", "sequence", "token"])
@pytest.mark.parametrize(
    "group",
    [
        ScoredGroup("pair", "offline", ("chosen", "rejected")),
        ScoredGroup("prompt", "online", ("rollout", "rollout"), (1.0, 0.0)),
    ],
    ids=["offline", "online"],
)
def test_the_better_response_rises_and_the_worse_one_falls(group, aggregate, seed):
    """With raw rewards the rejected one has no gradient of its own, so it need not fall."""
    table = Table(2, seed)
    start = [row.detach() for row in table.logps()]
    counts = Counts(1, 2, 2 * POSITIONS)
    objective = HybridGRPO(aggregate=aggregate)
    before = objective(table.logps(), start, [group], counts, start)
    table.descend(before.loss)
    after = objective(table.logps(), start, [group], counts, start)
    better, worse = (sums(table.logps()) - sums(start)).tolist()
    assert better > 0 > worse
    assert after.loss < before.loss


@pytest.mark.parametrize("seed", range(5))
def test_raw_rewards_raise_the_chosen_response(seed):
    table = Table(2, seed)
    start = [row.detach() for row in table.logps()]
    pair = ScoredGroup("pair", "offline", ("chosen", "rejected"))
    objective = HybridGRPO(advantages="raw")
    table.descend(objective(table.logps(), start, [pair], Counts(1, 2, 2 * POSITIONS)).loss)
    assert sums(table.logps())[0] > sums(start)[0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("responses", [2, 3, 4])
def test_the_first_of_several_rises_and_its_probability_of_winning_too(responses, seed):
    table = Table(responses, seed)
    start = sums(table.logps())

    def loss():
        logps = torch.stack([row.sum() for row in table.logps()])
        return first_place_losses(implicit_rewards(logps, start, 0.1))

    before = loss()
    table.descend(before)
    assert loss() < before
    assert sums(table.logps())[0] > start[0]


@pytest.mark.parametrize("seed", range(3))
def test_a_response_beyond_its_end_has_no_gradient(seed):
    """Rows of unequal length are padded side by side: the padding moves no logit."""
    table = Table(2, seed)
    whole, cut = table.logps()[0], table.logps()[1][:2]
    pair = ScoredGroup("pair", "offline", ("chosen", "rejected"))
    reference = [whole.detach() - 0.1, cut.detach() + 0.1]
    objective = HybridGRPO(beta=0.5)
    output = objective([whole, cut], reference, [pair], Counts(1, 2, 6))
    (gradient,) = torch.autograd.grad(output.loss, table.logits, retain_graph=True)
    # The last two positions are reached through the longer response alone.
    slope = -objective.group_advantages(pair)[0] + 0.5 * (1 - torch.exp(torch.tensor(-0.1)))
    (own,) = torch.autograd.grad(whole[2:].sum(), table.logits)
    torch.testing.assert_close(gradient[2:], (slope / 8 * own)[2:])
