"""The loss of AdaViP: one chosen against several rejected responses, a softmax over rewards.

L = -log softmax([D_0, D_1, ..., D_{K-1}])[0],   D of `dpo.implicit_rewards`
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mbpo_core.objectives.protocol import Counts, Metrics, ObjectiveOutput, ScoredGroup
from mbpo_core.objectives.ranking import RIVALS, reward_metrics, reward_table
from mbpo_core.objectives.response_metrics import response_metrics
from mbpo_core.objectives.sequence import at_least_float32, divide_once


def first_place_losses(rewards: Tensor) -> Tensor:
    """`-log(exp D_0 / sum_k exp D_k)`: the Plackett-Luce probability that the first one wins.

    AdaViP's eq. 11 is the case K = 3 with `[D(y_w, v), D(y_l, v), D(y_w, v_l)]`; K = 2 is DPO. The
    gradient pushes each rejected one down by its share of the softmax over the rejected alone,
    which is what eq. 13 calls adaptive weights; they are no setting. The order among the rejected
    ones does not count.

    Args:
        rewards: implicit rewards [..., K], K >= 2, the chosen one first, differentiable.

    Returns:
        One loss a group [...], in nats and at least float32; sum them and divide once by the count
        of the whole step.

    Raises:
        ValueError: fewer than two candidates.

    Differs from the paper: in form only; eq. 11 reduces to this softmax.
    """
    if rewards.ndim == 0 or rewards.shape[-1] < 2:
        raise ValueError(
            f"expected rewards [..., K] of at least two candidates, got {list(rewards.shape)}"
        )
    return -torch.log_softmax(at_least_float32(rewards), dim=-1)[..., 0]


def adaptive_weights(rewards: Tensor) -> Tensor:
    """`w_j = exp D_j / sum_{k > 0} exp D_k` (eq. 13 of AdaViP), j over the rejected alone.

    The gradient of a group's loss is `-beta (1 - p_0) [grad lp_0 - sum_j w_j grad lp_j]` with p_0
    the probability that the chosen one wins: the rejected candidate that the policy still likes
    best is pushed down hardest.

    Args:
        rewards: implicit rewards [..., K], K >= 2, the chosen one first.

    Returns:
        [..., K - 1], which sum to 1.
    """
    return torch.softmax(at_least_float32(rewards)[..., 1:], dim=-1)


@dataclass(frozen=True)
class PlackettLuce:
    """AdaViP (eq. 11): the chosen pair of image and response against a rejected one of each.

    Differs from the paper: in form only; see `first_place_losses`.

    Raises:
        ValueError: beta not above 0.
    """

    beta: float = 0.1
    """Strength of the pull to the reference (paper)."""

    roles: ClassVar[tuple[str, ...]] = ("chosen", "rejected", "rejected_image")
    online: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not (self.beta > 0 and math.isfinite(self.beta)):
            raise ValueError(f"beta must be above 0, got {self.beta}")

    def __call__(
        self,
        logps: Sequence[Tensor],
        reference: Sequence[Tensor],
        groups: Sequence[ScoredGroup],
        counts: Counts,
        old: Sequence[Tensor | None] | None = None,
    ) -> ObjectiveOutput:
        """Loss and metrics of a micro-batch of offline groups; see `Objective.__call__`.

        The mean over the groups of the whole step; `old` is not read. `weight_text` and
        `weight_image` are the means of the adaptive weights (the paper's Fig. 5).

        Raises:
            ValueError: online groups, or other roles than the three (the group is named).
        """
        rewards = reward_table(logps, reference, groups, self.roles, self.beta)
        offline = divide_once(first_place_losses(rewards).sum(), counts.samples)

        metrics = Metrics()
        weights = adaptive_weights(rewards.detach()).sum(dim=0).tolist()
        for role, weight in zip(self.roles[1:], weights, strict=True):
            metrics.add(f"weight_{RIVALS[role]}", weight, len(groups))
        metrics.merge(reward_metrics(rewards, self.roles))
        metrics.merge(response_metrics(logps, groups, self.roles))
        return ObjectiveOutput(offline, torch.zeros_like(offline), metrics)
