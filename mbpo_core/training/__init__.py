"""Hybrid training of a policy on preference pairs and online rollouts."""

from mbpo_core.training.config import HybridConfig, LoraSettings
from mbpo_core.training.run import TrainResult, planned_steps, train

__all__ = ["HybridConfig", "LoraSettings", "TrainResult", "planned_steps", "train"]
