"""Implicit rewards of ranked candidates as a table, and what every preference loss logs of it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mbpo_core.objectives.dpo import implicit_rewards
from mbpo_core.objectives.protocol import Metrics, ScoredGroup, check_rows
from mbpo_core.objectives.sequence import response_sums

RIVALS = {"rejected": "text", "rejected_image": "image"}
"""What a rejected candidate has in place of the chosen one's: the name of the loss against it."""


def check_roles(groups: Sequence[ScoredGroup], roles: tuple[str, ...]) -> None:
    """Check that every group is offline and has exactly these roles in this order.

    Raises:
        ValueError: naming the first group that is not so.
    """
    for group in groups:
        if group.stream != "offline":
            raise ValueError(f"group {group.group_id}: this objective has no loss for rollouts")
        if group.roles != roles:
            raise ValueError(
                f"group {group.group_id}: expected rows of {list(roles)}, got {list(group.roles)}"
            )


def reward_table(
    logps: Sequence[Tensor],
    reference: Sequence[Tensor],
    groups: Sequence[ScoredGroup],
    roles: tuple[str, ...],
    beta: float,
) -> Tensor:
    """Implicit rewards `D = beta [lp - lp_ref]` of G groups, one column a role.

    Args:
        logps: G R tensors [T_i] in nats, the rows of a group next to each other, differentiable.
        reference: the same of the reference.
        groups: the G groups, offline ones with exactly these roles.
        roles: the R roles, `chosen` first.
        beta: see `implicit_rewards`.

    Returns:
        [G, R] in float32 or wider.

    Raises:
        ValueError: a group of another kind (named), or a number of rows that does not fit.
    """
    check_roles(groups, roles)
    check_rows(groups, logps, reference)
    rewards = implicit_rewards(response_sums(logps), response_sums(reference), beta)
    return rewards.reshape(len(groups), len(roles))


def reward_metrics(rewards: Tensor, roles: tuple[str, ...]) -> Metrics:
    """`reward_ROLE`, the mean D of a role, and `accuracy_text` and `accuracy_image`.

    An accuracy is the share of groups where the chosen candidate's reward is above the rejected
    one's. A column [G] of rewards [G, R] each, in the order of `roles`.
    """
    metrics, count = Metrics(), len(rewards)
    for role, column in zip(roles, rewards.detach().unbind(dim=1), strict=True):
        metrics.add(f"reward_{role}", float(column.sum()), count)
        if role in RIVALS:
            won = torch.gt(rewards[:, 0].detach(), column)
            metrics.add(f"accuracy_{RIVALS[role]}", float(won.sum()), count)
    return metrics
