"""Training of a policy on ranked groups and online rollouts, with any objective."""

from mbpo_core.training.config import LoraSettings, TrainingConfig
from mbpo_core.training.plan import levels_of_groups, planned_steps
from mbpo_core.training.run import TrainResult, train

__all__ = [
    "LoraSettings",
    "TrainResult",
    "TrainingConfig",
    "levels_of_groups",
    "planned_steps",
    "train",
]
