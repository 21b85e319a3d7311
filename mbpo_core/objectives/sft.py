"""Supervised fine-tuning on the chosen responses: the control of every preference loss.

L = -(1 / number of tokens) sum_i sum_t lp(y_i,t | q, v)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mbpo_core.objectives.protocol import Counts, ObjectiveOutput, ScoredGroup, check_rows
from mbpo_core.objectives.ranking import check_roles
from mbpo_core.objectives.response_metrics import response_metrics
from mbpo_core.objectives.sequence import divide_once, response_sums


@dataclass(frozen=True)
class SFT:
    """Negative log-likelihood of the chosen responses, mean over all tokens of the step.

    The token mean is that of transformers' own loss, which the papers' base models are trained
    with; it is no loss of the three papers but the control that shows what the rejected ones add.
    """

    roles: ClassVar[tuple[str, ...]] = ("chosen",)
    online: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = False

    def __call__(
        self,
        logps: Sequence[Tensor],
        reference: Sequence[Tensor],
        groups: Sequence[ScoredGroup],
        counts: Counts,
        old: Sequence[Tensor | None] | None = None,
    ) -> ObjectiveOutput:
        """Loss and metrics of a micro-batch of offline groups; see `Objective.__call__`.

        Neither `reference` nor `old` is read.

        Raises:
            ValueError: online groups, or other roles than `chosen` alone (the group is named).
        """
        check_roles(groups, self.roles)
        check_rows(groups, logps, None)
        offline = divide_once(-response_sums(logps).sum(), counts.tokens)
        metrics = response_metrics(logps, groups, self.roles)
        return ObjectiveOutput(offline, torch.zeros_like(offline), metrics)
