"""Curricula: in what order groups are seen. Pure functions from ids to optimiser steps.

MBPO draws mini-batches "randomly from the union" of the offline and the online set (section 3.3);
the online set is seen for one epoch (paper), the offline set for one (assumed).
"""

from collections.abc import Sequence

from mbpo_core.seeds import seed_for


def shuffled(
    seed: int,
    offline: Sequence[str],
    online: Sequence[str],
    batch_size: int,
    *,
    offline_epochs: int = 1,
    online_epochs: int = 1,
    max_steps: int | None = None,
) -> list[list[str]]:
    """Plan optimiser steps as mini-batches drawn without replacement from the union.

    Epoch e is the union of the streams that still have an epoch to go, ordered by
    `seed_for(seed, group_id, "curriculum", e)` and cut into batches; so the order depends on the
    ids and the seed, never on the order in which the ids came. The last batch of an epoch may be
    smaller. Each group occurs exactly `offline_epochs` or `online_epochs` times, unless `max_steps`
    cuts the plan.

    Args:
        seed: the run's seed.
        offline: ids of the offline groups.
        online: ids of the online groups.
        batch_size: groups per optimiser step over all ranks, at least 1.
        offline_epochs: passes over the offline groups.
        online_epochs: passes over the online groups.
        max_steps: upper bound on the number of batches; None = all.

    Returns:
        One list of group ids per optimiser step.

    Raises:
        ValueError: on a repeated id, an empty plan, or a size that is out of range.
    """
    _check(offline, online, batch_size, offline_epochs, online_epochs, max_steps)
    batches: list[list[str]] = []
    for epoch in range(max(offline_epochs, online_epochs)):
        union = [*(offline if epoch < offline_epochs else ())]
        union += online if epoch < online_epochs else ()
        order = sorted(union, key=lambda group_id, e=epoch: _draw(seed, e, group_id))
        batches += [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        if max_steps is not None and len(batches) >= max_steps:
            break
    if not batches:
        raise ValueError("nothing to train on: no group has an epoch to go")
    return batches if max_steps is None else batches[:max_steps]


def _draw(seed: int, epoch: int, group_id: str) -> tuple[int, str]:
    """Key of a random order; the id breaks a tie."""
    return seed_for(seed, group_id, "curriculum", epoch), group_id


def _check(
    offline: Sequence[str],
    online: Sequence[str],
    batch_size: int,
    offline_epochs: int,
    online_epochs: int,
    max_steps: int | None,
) -> None:
    ids = [*offline, *online]
    if len(set(ids)) != len(ids):
        raise ValueError("group ids must be unique over both streams")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if offline_epochs < 0 or online_epochs < 0:
        raise ValueError(f"epochs must not be negative, got {offline_epochs} and {online_epochs}")
    if max_steps is not None and max_steps < 1:
        raise ValueError(f"max_steps must be at least 1 or None, got {max_steps}")
