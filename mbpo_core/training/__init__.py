"""Hybrid training of a policy on preference pairs and online rollouts."""

from mbpo_core.training.config import HybridConfig, LoraSettings
from mbpo_core.training.run import TrainResult, train

__all__ = ["HybridConfig", "LoraSettings", "TrainResult", "train"]
