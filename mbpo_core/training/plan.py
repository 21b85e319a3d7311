"""What a run trains on and in what order: from groups and settings to optimiser steps."""

import math
from collections.abc import Sequence

from mbpo_core.curriculum import easy_to_hard, levels_of, shuffled
from mbpo_core.grouping import Group, with_roles
from mbpo_core.objectives.protocol import Objective
from mbpo_core.training.config import TrainingConfig


def readable(groups: Sequence[Group], objective: Objective, config: TrainingConfig) -> list[Group]:
    """Return the groups as the objective reads them: offline ones with its roles alone.

    Raises:
        ValueError: naming the first group that lacks a role, or that is online where the objective
            has no loss for rollouts and `config.online_epochs` would use it.
    """
    for group in groups if config.online_epochs and not objective.online else ():
        if group.stream == "online":
            raise ValueError(
                f"group {group.group_id} is online, and {type(objective).__name__} has no loss for "
                "rollouts"
            )
    return [
        with_roles(group, objective.roles) if group.stream == "offline" else group
        for group in groups
    ]


def planned_steps(groups: Sequence[Group], config: TrainingConfig) -> list[list[str]]:
    """Group ids per mini-batch; each is used for `iterations` optimiser steps.

    Raises:
        ValueError: nothing to train on; with `easy_to_hard`, an offline group without a
            difficulty (named) or an online group that would be used.
    """
    bound = None if config.max_steps is None else math.ceil(config.max_steps / config.iterations)
    offline = [group.group_id for group in groups if group.stream == "offline"]
    online = [group.group_id for group in groups if group.stream == "online"]
    if config.curriculum == "shuffled":
        return shuffled(
            config.seed,
            offline,
            online,
            config.groups_per_step,
            offline_epochs=config.offline_epochs,
            online_epochs=config.online_epochs,
            max_steps=bound,
        )
    if online and config.online_epochs:
        raise ValueError(f"easy_to_hard orders offline groups, and group {online[0]} is online")
    return easy_to_hard(
        config.seed,
        offline,
        _difficulties(groups),
        config.groups_per_step,
        levels=config.levels,
        epochs=config.offline_epochs,
        max_steps=bound,
    )


def levels_of_groups(groups: Sequence[Group], config: TrainingConfig) -> dict[str, int]:
    """Level of each offline group, 0 the easiest; empty where the curriculum has no levels."""
    if config.curriculum == "shuffled":
        return {}
    return levels_of(_difficulties(groups), config.levels)


def _difficulties(groups: Sequence[Group]) -> dict[str, float]:
    return {
        group.group_id: group.difficulty
        for group in groups
        if group.stream == "offline" and group.difficulty is not None
    }
