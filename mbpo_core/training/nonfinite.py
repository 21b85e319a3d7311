"""Groups whose loss is no number: found, left out, and told; the others are trained on."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mbpo_core.objectives.protocol import Counts, Metrics, Objective, ObjectiveOutput
from mbpo_core.training.batches import MicroBatch, Rows

NONFINITE_LOSS = "nonfinite_loss"
"""The loss of the group was not finite: it was left out of its step."""
NONFINITE_GRADIENT = "nonfinite_gradient"
"""The gradient of the whole step was not finite: no weight was changed by it."""
PATIENCE = 5
"""So many steps in a row without one usable group end the run: the weights are broken, or all
groups are (assumed)."""


@torch.no_grad()
def broken_groups(
    objective: Objective, logps: Sequence[Tensor], batch: MicroBatch, counts: Counts
) -> set[str]:
    """Ids of the groups of a micro-batch whose loss, taken by itself, is not finite.

    All of them where each is finite alone and only their sum is not.
    """
    found = {
        group.group_id
        for group, (start, end) in zip(batch.scored, _spans(batch), strict=True)
        if not math.isfinite(
            objective(
                logps[start:end], batch.reference[start:end], (group,), counts, batch.old[start:end]
            ).loss.item()
        )
    }
    return found or {group.group_id for group in batch.scored}


def without(batch: MicroBatch, broken: Collection[str]) -> MicroBatch:
    """The micro-batch without some of its groups; counts of the step stay what they were."""
    kept = [
        (group, row)
        for group, (start, end) in zip(batch.scored, _spans(batch), strict=True)
        for row in range(start, end)
        if group.group_id not in broken
    ]
    rows, offline = [row for _, row in kept], len(batch.offline.responses)
    return replace(
        batch,
        scored=tuple(group for group in batch.scored if group.group_id not in broken),
        offline=_taken(batch.offline, [row for row in rows if row < offline]),
        online=_taken(batch.online, [row - offline for row in rows if row >= offline]),
        reference=[batch.reference[row] for row in rows] if batch.reference else [],
        old=[batch.old[row] for row in rows],
    )


def nothing_of(model: nn.Module) -> ObjectiveOutput:
    """A loss of 0 that every trained parameter has a part in: ranks wait for each gradient."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    zero = torch.stack([parameter.flatten()[0].float() * 0.0 for parameter in trained]).sum()
    return ObjectiveOutput(zero, zero, Metrics())


def finite(row: dict[str, Any]) -> dict[str, Any]:
    """A row for the log: JSON has no NaN, so a figure that is none is missing."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def _spans(batch: MicroBatch) -> Iterator[tuple[int, int]]:
    """First and last + 1 row of each group."""
    start = 0
    for group in batch.scored:
        yield start, start + len(group.roles)
        start += len(group.roles)


def _taken(rows: Rows, numbers: Sequence[int]) -> Rows:
    return Rows(
        [rows.prompts[n] for n in numbers],
        [rows.responses[n] for n in numbers],
        [rows.images[n] for n in numbers],
    )
