"""The family of pairwise preference losses: DPO, mDPO, MFPO and AdaViP's fixed weights.

With D(y, v) = beta [lp(y | q, v) - lp_ref(y | q, v)], y_w and y_l the chosen and the rejected
response, v the image and v' the rejected one, per group:
  L =   text   * -log s(D(y_w, v) - D(y_l, v))
      + image  * -log s(D(y_w, v) - D(y_w, v'))
      + margin * -log s(D(y_w, v) - eta)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mbpo_core.objectives.dpo import dpo_losses
from mbpo_core.objectives.protocol import Counts, Metrics, ObjectiveOutput, ScoredGroup
from mbpo_core.objectives.ranking import RIVALS, reward_metrics, reward_table
from mbpo_core.objectives.response_metrics import response_metrics
from mbpo_core.objectives.sequence import divide_once


@dataclass(frozen=True)
class PreferenceLosses:
    """A weighted sum of text, image and margin losses; a loss of weight 0 is not computed.

    | method | text | image | margin | eta |
    |---|---|---|---|---|
    | DPO | 1 | 0 | 0 | |
    | MFPO (weights: paper) | 1 | 1 | 1 | 0 (paper: best of 0, 0.2, 0.4) |
    | mDPO, whose anchor is the margin at 0 (paper) | 1 | 1 | 1 | 0 |
    | AdaViP's ablation with equal weights ("+Vision", paper) | 1 | 1 | 0 | |

    Differs from the papers: the form of MFPO's margin is second-hand; the others are as printed.

    Raises:
        ValueError: beta not above 0, a weight below 0, all weights 0, an eta that is not finite.
    """

    beta: float = 0.1
    """Strength of the pull to the reference (0.1: paper of AdaViP; of MFPO: assumed)."""
    text: float = 1.0
    """Weight of the loss against the rejected response."""
    image: float = 0.0
    """Weight of the loss against the chosen response under the rejected image."""
    margin: float = 0.0
    """Weight of the loss that keeps the chosen reward above eta."""
    eta: float = 0.0
    """What the chosen reward is to exceed, in units of D."""

    online: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        weights = (self.text, self.image, self.margin)
        if not (self.beta > 0 and math.isfinite(self.beta)):
            raise ValueError(f"beta must be above 0, got {self.beta}")
        if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
            raise ValueError(
                "text, image and margin must be at least 0 and one of them above, got "
                f"{self.text}, {self.image}, {self.margin}"
            )
        if not math.isfinite(self.eta):
            raise ValueError(f"eta must be finite, got {self.eta}")

    @property
    def roles(self) -> tuple[str, ...]:
        """`chosen`, and a rejected candidate for each loss that has a weight."""
        return "chosen", *(role for role, name in RIVALS.items() if getattr(self, name))

    def __call__(
        self,
        logps: Sequence[Tensor],
        reference: Sequence[Tensor],
        groups: Sequence[ScoredGroup],
        counts: Counts,
        old: Sequence[Tensor | None] | None = None,
    ) -> ObjectiveOutput:
        """Loss and metrics of a micro-batch of offline groups; see `Objective.__call__`.

        The mean over the groups of the whole step; `old` is not read.

        Raises:
            ValueError: online groups, or other roles than `roles` (the group is named).
        """
        rewards = reward_table(logps, reference, groups, self.roles, self.beta)
        losses = self.losses(rewards)
        total = sum(getattr(self, name) * each for name, each in losses.items())
        offline = divide_once(total.sum(), counts.samples)

        metrics = Metrics()
        for name, each in losses.items():
            metrics.add(f"loss_{name}", float(each.detach().sum()), len(groups))
        metrics.merge(reward_metrics(rewards, self.roles))
        metrics.merge(response_metrics(logps, groups, self.roles))
        return ObjectiveOutput(offline, torch.zeros_like(offline), metrics)

    def losses(self, rewards: Tensor) -> dict[str, Tensor]:
        """The losses [G] that have a weight, by name and unweighted, of rewards [G, R]."""
        columns = dict(zip(self.roles, rewards.unbind(dim=1), strict=True))
        chosen = columns.pop("chosen")
        found = {RIVALS[role]: dpo_losses(chosen, other) for role, other in columns.items()}
        if self.margin:
            found["margin"] = dpo_losses(chosen, chosen.new_tensor(self.eta))
        return found
