"""The hybrid loss of MBPO (eq. 7): GRPO over offline pairs and online rollouts.

Per sequence i:  L_i = -(1/|y_i|) sum_t [ ratio_t A_i - beta kl_t ]
  ratio_t = exp(lp_t - stopgrad(lp_t)), or min/clip of exp(lp_t - old_t) where a rollout is reused
  kl_t    = exp(ref_t - lp_t) - (ref_t - lp_t) - 1
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mbpo_core.objectives.protocol import (
    Counts,
    Metrics,
    ObjectiveOutput,
    ScoredGroup,
    check_rows,
)
from mbpo_core.objectives.response_metrics import response_metrics
from mbpo_core.objectives.sequence import divide_once, kl_terms, lengths, pad, token_sums


def group_advantages(rewards: Tensor, eps: float = 1e-4) -> Tensor:
    """`A_i = (r_i - mean r) / (std r + eps)` over the K responses of one group.

    std is that of a sample (divides by K - 1), as in R1-V and TRL; a pair then has the advantages
    +-1/sqrt(2) whatever its two rewards are (but for eps). A shift of all rewards changes no bit
    (where the shifted rewards are exact); equal rewards give exactly 0, not rounding noise over
    eps, and so does a group of one.

    Args:
        rewards: [K] in reward units.
        eps: added to the standard deviation, same units (1e-4: R1-V).
    """
    rewards = rewards.float()
    relative = rewards - rewards[0]  # a mean of a third would be rounded, and differently shifted
    if not bool(relative.any()):
        return torch.zeros_like(relative)
    return (relative - relative.mean()) / (relative.std() + eps)


@dataclass(frozen=True)
class HybridGRPO:
    """Eq. 7 with its open readings as switches.

    Differs from the paper: nothing that is printed; the arrangement of its normalisers is lost in
    the text and the map from fixed rewards to advantages is not stated, hence `aggregate` and
    `advantages`.
    """

    beta: float = 0.04
    """Weight of the KL term (R1-V)."""
    clip: float = 0.2
    """Half-width of the ratio's range where an old policy is given (assumed)."""
    advantages: Literal["pair", "raw"] = "pair"
    """Offline: `pair` normalises the fixed rewards over the group (assumed); `raw` takes the
    reward itself, and a rejected reward of 0 then leaves nothing but the KL pull."""
    aggregate: Literal["sample", "sequence", "token"] = "sample"
    """`sample`: (1/B) [sum_offline mean_k L_k + sum_online mean_g L_g] (assumed); `sequence`: the
    mean over all sequences; `token`: the mean over all tokens."""
    chosen_reward: float = 2.0
    """Fixed reward of a chosen response (second-hand)."""
    rejected_reward: float = 0.0
    """Fixed reward of a rejected response (assumed)."""
    eps: float = 1e-4
    """See `group_advantages` (R1-V)."""

    roles: ClassVar[tuple[str, ...]] = ("chosen", "rejected")
    online: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if self.beta < 0 or not 0 < self.clip < 1 or self.eps <= 0:
            raise ValueError(
                f"expected beta >= 0, 0 < clip < 1, eps > 0, got {self.beta}, {self.clip}, "
                f"{self.eps}"
            )
        if self.advantages not in ("pair", "raw"):
            raise ValueError(f"advantages must be 'pair' or 'raw', got {self.advantages!r}")
        if self.aggregate not in ("sample", "sequence", "token"):
            raise ValueError(
                f"aggregate must be 'sample', 'sequence' or 'token', got {self.aggregate!r}"
            )

    def __call__(
        self,
        logps: Sequence[Tensor],
        reference: Sequence[Tensor],
        groups: Sequence[ScoredGroup],
        counts: Counts,
        old: Sequence[Tensor | None] | None = None,
    ) -> ObjectiveOutput:
        """Loss and metrics of a micro-batch; see `Objective.__call__`."""
        check_rows(groups, logps, reference)
        _check_rewards(groups)
        values, mask = pad(logps)
        references, _ = pad([row.detach() for row in reference])
        olds, _ = pad(_or_current(logps, old))
        offline = _rows_of(groups, "offline", values)

        kl = kl_terms(values, references)
        gain, clipped = self._surrogate(values, olds, self._advantage_rows(groups, values))
        weighted = token_sums(self.beta * kl - gain, mask) * self._token_weights(groups, mask)
        total = divide_once(weighted, getattr(counts, f"{self.aggregate}s"))

        metrics = Metrics()
        _stream_metrics(metrics, kl, references - values, clipped, mask, offline)
        _reward_metrics(metrics, groups)
        metrics.merge(response_metrics(logps, groups, (*self.roles, "rollout")))
        return ObjectiveOutput(total[offline].sum(), total[~offline].sum(), metrics)

    def group_rewards(self, group: ScoredGroup) -> list[float]:
        """Rewards of the rows of a group: verified online, fixed by role offline."""
        if group.stream == "online":
            return list(group.rewards)
        fixed = {"chosen": self.chosen_reward, "rejected": self.rejected_reward}
        unknown = [role for role in group.roles if role not in fixed]
        if unknown:
            raise ValueError(
                f"group {group.group_id}: the hybrid loss ranks chosen and rejected responses, "
                f"got {unknown[0]}"
            )
        return [fixed[role] for role in group.roles]

    def group_advantages(self, group: ScoredGroup) -> Tensor:
        """Advantages [K] of the rows of a group."""
        rewards = torch.tensor(self.group_rewards(group), dtype=torch.float32)
        if group.stream == "offline" and self.advantages == "raw":
            return rewards
        return group_advantages(rewards, self.eps)

    def _advantage_rows(self, groups: Sequence[ScoredGroup], like: Tensor) -> Tensor:
        rows = torch.cat([self.group_advantages(group) for group in groups])
        return rows.to(like.device)[:, None]

    def _surrogate(self, logps: Tensor, old: Tensor, advantages: Tensor) -> tuple[Tensor, Tensor]:
        """`min(ratio A, clip(ratio) A)` [N, T], and where the clip took the gradient away."""
        ratio = torch.exp(logps - old)
        bounded = ratio.clamp(1 - self.clip, 1 + self.clip)
        gain = torch.minimum(ratio * advantages, bounded * advantages)
        return gain, (bounded * advantages < ratio * advantages).detach()

    def _token_weights(self, groups: Sequence[ScoredGroup], mask: Tensor) -> Tensor:
        """What a sequence's token sum is worth [N] before the one division by the step's count."""
        if self.aggregate == "token":
            return torch.ones(mask.shape[0], device=mask.device)
        if self.aggregate == "sequence":
            return 1.0 / lengths(mask)
        sizes = [len(group.roles) for group in groups for _ in group.roles]
        return 1.0 / (lengths(mask) * torch.tensor(sizes, device=mask.device))


def _or_current(logps: Sequence[Tensor], old: Sequence[Tensor | None] | None) -> list[Tensor]:
    """The old policy's rows; where there is none, the current ones without gradient: ratio 1."""
    given = old if old is not None else [None] * len(logps)
    return [
        (now if then is None else then).detach() for now, then in zip(logps, given, strict=True)
    ]


def _rows_of(groups: Sequence[ScoredGroup], stream: str, like: Tensor) -> Tensor:
    flags = [group.stream == stream for group in groups for _ in group.roles]
    return torch.tensor(flags, dtype=torch.bool, device=like.device)


def _check_rewards(groups: Sequence[ScoredGroup]) -> None:
    for group in groups:
        if group.stream == "online" and len(group.rewards) != len(group.roles):
            raise ValueError(
                f"group {group.group_id}: {len(group.roles)} rollouts, {len(group.rewards)} rewards"
            )


@torch.no_grad()
def _stream_metrics(
    metrics: Metrics, kl: Tensor, gap: Tensor, clipped: Tensor, mask: Tensor, offline: Tensor
) -> None:
    """KL, max exp(ref - lp) and the clip's share, per token of each stream."""
    for stream, rows in (("offline", offline), ("online", ~offline)):
        tokens = mask & rows[:, None]
        count = float(tokens.sum())
        metrics.add(f"kl_{stream}", float(kl[tokens].sum()), count)
        metrics.add(f"clip_share_{stream}", float(clipped[tokens].sum()), count)
        metrics.maximum(
            f"max_reference_ratio_{stream}",
            float(gap[tokens].max().exp()) if count else float("-inf"),
        )


def _reward_metrics(metrics: Metrics, groups: Sequence[ScoredGroup]) -> None:
    """Verified rewards, and the share of prompts whose rewards are all equal."""
    for name in ("reward", "degenerate_share"):
        metrics.add(name, 0.0, 0.0)
    for group in groups:
        if group.stream == "online":
            metrics.add("reward", sum(group.rewards), len(group.rewards))
            metrics.add("degenerate_share", float(len(set(group.rewards)) == 1), 1)
