"""What every objective logs of the responses it scores: log-probabilities, lengths, margins."""

from collections.abc import Sequence

from torch import Tensor

from mbpo_core.objectives.protocol import Metrics, ScoredGroup
from mbpo_core.objectives.sequence import response_sums


def response_metrics(
    logps: Sequence[Tensor], groups: Sequence[ScoredGroup], roles: Sequence[str]
) -> Metrics:
    """Mean log-probabilities in nats and lengths by role, and the margin of chosen over rejected.

    `logp_ROLE_sum` and `length_ROLE` are means over responses; `logp_ROLE_mean` is the mean of
    their means per token. `margin_sum` can be pure length, hence `margin_mean` beside it.

    Args:
        logps: N tensors [T_i], T_i >= 1.
        groups: the groups in row order; their numbers of roles add up to N.
        roles: roles to have figures of; one that no group has counts 0, so that ranks have equal
            keys. `rollout` is one too.

    Raises:
        KeyError: where a group has a role that is not among `roles`.
    """
    sums = response_sums([row.detach() for row in logps]).tolist()
    sizes = [row.numel() for row in logps]
    names = {role: (f"logp_{role}_sum", f"logp_{role}_mean", f"length_{role}") for role in roles}
    metrics = Metrics()
    for name in (*(name for three in names.values() for name in three), *_MARGINS):
        metrics.add(name, 0.0, 0.0)
    start = 0
    for group in groups:
        rows = range(start, start + len(group.roles))
        start += len(group.roles)
        for row, role in zip(rows, group.roles, strict=True):
            figures = (sums[row], sums[row] / sizes[row], sizes[row])
            for name, value in zip(names[role], figures, strict=True):
                metrics.add(name, value, 1)
        _add_margins(metrics, group, rows, sums, sizes)
    return metrics


_MARGINS = ("margin_sum", "margin_mean")


def _add_margins(
    metrics: Metrics, group: ScoredGroup, rows: range, sums: list[float], sizes: list[int]
) -> None:
    """Chosen minus rejected, as a sum and per token."""
    by_role = dict(zip(group.roles, rows, strict=True))
    if "chosen" in by_role and "rejected" in by_role:
        chosen, rejected = by_role["chosen"], by_role["rejected"]
        metrics.add("margin_sum", sums[chosen] - sums[rejected], 1)
        metrics.add(
            "margin_mean", sums[chosen] / sizes[chosen] - sums[rejected] / sizes[rejected], 1
        )
