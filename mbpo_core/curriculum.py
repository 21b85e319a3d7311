"""Curricula: in what order groups are seen. Pure functions from ids to optimiser steps.

MBPO draws mini-batches "randomly from the union" of the offline and the online set (section 3.3);
the online set is seen for one epoch (paper), the offline set for one (assumed). MFPO ranks its
groups by difficulty and trains on the easy ones, then the medium ones, then the hard ones (paper).
"""

import math
from collections.abc import Mapping, Sequence

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


def levels_of(difficulty: Mapping[str, float], levels: int) -> dict[str, int]:
    """Rank groups by difficulty, ascending, and cut the ranks into equal parts.

    Equal difficulties are ordered by id; sizes of levels differ by one at most, the earlier ones
    being the larger.

    Args:
        difficulty: id -> any figure that grows with difficulty; only its order counts (MFPO:
            entropy of the model's own answer, mean over tokens, assumed).
        levels: number of parts, at least 1 (3: paper of MFPO).

    Returns:
        id -> level, 0 the easiest. With fewer groups than levels some levels are empty.

    Raises:
        ValueError: a difficulty that is not finite, naming the group, or levels below 1.

    Differs from the paper: its three levels have no stated bounds; equal parts are assumed.
    """
    if levels < 1:
        raise ValueError(f"levels must be at least 1, got {levels}")
    for group_id, value in difficulty.items():
        if not math.isfinite(value):
            raise ValueError(f"group {group_id}: difficulty must be finite, got {value}")
    ranked = sorted(difficulty, key=lambda group_id: (difficulty[group_id], group_id))
    return {group_id: rank * levels // len(ranked) for rank, group_id in enumerate(ranked)}


def easy_to_hard(
    seed: int,
    offline: Sequence[str],
    difficulty: Mapping[str, float],
    batch_size: int,
    *,
    levels: int = 3,
    epochs: int = 1,
    max_steps: int | None = None,
) -> list[list[str]]:
    """Plan one phase a level, easy groups first; within a phase as `shuffled`.

    Under `max_steps` each phase has its equal share of the steps, so that none is cut away; a
    phase whose epochs give fewer steps than its share has those, and the others do not grow.

    Args:
        seed: the run's seed.
        offline: ids of the groups.
        difficulty: see `levels_of`; of other ids than `offline` too.
        batch_size: groups per optimiser step over all ranks, at least 1; the last one of an epoch
            of a phase may be smaller.
        levels: number of phases (3: paper of MFPO).
        epochs: passes over the groups of a phase, within the phase (assumed: 1).
        max_steps: upper bound on the number of batches; None = all.

    Returns:
        One list of group ids per optimiser step.

    Raises:
        ValueError: a group without a difficulty (named), a bound below the number of phases, an
            empty plan, or what `shuffled` and `levels_of` refuse.

    Differs from the paper: MFPO calls its training iterative; here the reference stays that of the
    start through all phases (assumed).
    """
    for group_id in offline:
        if group_id not in difficulty:
            raise ValueError(f"group {group_id} has no difficulty: easy_to_hard cannot rank it")
    level = levels_of({group_id: difficulty[group_id] for group_id in offline}, levels)
    parts = [[i for i in offline if level[i] == phase] for phase in range(levels)]
    phases = [ids for ids in parts if ids]
    if not phases:
        raise ValueError("nothing to train on: no group is offline")
    if max_steps is not None and max_steps < len(phases):
        raise ValueError(f"max_steps must be at least {len(phases)}, one a phase, got {max_steps}")
    plan: list[list[str]] = []
    for index, ids in enumerate(phases):
        share = None if max_steps is None else _share(max_steps, index, len(phases))
        plan += shuffled(seed, ids, (), batch_size, offline_epochs=epochs, max_steps=share)
    return plan


def _share(total: int, index: int, parts: int) -> int:
    """Steps of one of `parts` phases; all shares add up to `total`."""
    return total * (index + 1) // parts - total * index // parts


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
