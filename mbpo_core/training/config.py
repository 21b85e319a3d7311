"""Settings of a training run, whatever its objective; each default says how it is known.

`paper` = printed there; `R1-V` = left open by the paper, taken from the training code that its
authors name; `second-hand`, `assumed` = see the paper map.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters on the language model; the vision tower is never adapted.

    Dropout is 0 and not a setting: with dropout two forwards of one sequence differ, so that the
    ratio wanders and the KL is not 0 at the start.
    """

    rank: int = 64
    """Rank r of the update B A (assumed)."""
    alpha: int = 128
    """The update is scaled by alpha / r (assumed)."""
    targets: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    """Linear layers of the language model that get an adapter (assumed: all)."""
    merge: bool = True
    """Write a merged model beside the adapter, so that it loads like any other checkpoint."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if self.rank < 1 or self.alpha < 1 or not self.targets:
            raise ValueError(f"expected rank >= 1, alpha >= 1 and targets, got {self}")


@dataclass(frozen=True)
class TrainingConfig:
    """How a policy is trained on offline and online groups."""

    learning_rate: float = 1e-6
    """Peak learning rate of AdamW (R1-V)."""
    num_generations: int = 8
    """G: rollouts per online prompt (R1-V)."""
    temperature: float = 1.0
    """Sampling temperature of rollouts; their log-probabilities are divided by it too (R1-V)."""
    top_p: float = 1.0
    """Nucleus of rollouts; below 1 the sampled distribution is not the scored one (assumed)."""
    max_new_tokens: int = 256
    """Length limit of a rollout; one that is cut is scored as it is, and counted (R1-V)."""
    iterations: int = 1
    """Optimiser steps per set of rollouts; above 1 the clipped ratio is used (R1-V: 1)."""
    groups_per_step: int = 32
    """Groups (pairs and prompts) per optimiser step, over all ranks (assumed)."""
    micro_batch_groups: int = 4
    """Groups per forward and backward pass of one rank; memory, not results (assumed)."""
    rollout_rows: int = 64
    """Rollouts sampled at once; memory, not results (assumed)."""
    curriculum: Literal["shuffled", "easy_to_hard"] = "shuffled"
    """Order of the groups: drawn from the union of both streams (paper of MBPO), or the offline
    groups by difficulty (paper of MFPO)."""
    levels: int = 3
    """Phases of `easy_to_hard` (paper of MFPO), of equal size (assumed)."""
    offline_epochs: int = 1
    """Passes over the offline groups (assumed); with `easy_to_hard`, in each phase."""
    online_epochs: int = 1
    """Passes over the online groups (paper)."""
    max_steps: int | None = None
    """Upper bound on optimiser steps; None = as many as the epochs give."""
    warmup_steps: int = 0
    """Steps of linear warm-up (R1-V: none)."""
    lr_scheduler: str = "linear"
    """Name of a transformers schedule (R1-V: the Trainer's default, linear to 0)."""
    weight_decay: float = 0.0
    """AdamW's decay (R1-V: the Trainer's default)."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm (R1-V)."""
    lora: LoraSettings | None = None
    """Low-rank adapters instead of full fine-tuning; None = full (R1-V)."""
    freeze_vision: bool = False
    """Leave the vision tower as it is (R1-V trains it; the paper does not say)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass; memory, not results."""
    bf16: bool = False
    """Autocast to bfloat16 around float32 weights. Weights that are themselves loaded in bfloat16
    hardly move at a learning rate of 1e-6: the update is below their resolution."""
    seed: int = 0
    """Seed of the run: the order of groups and every rollout derive from it."""
    save_every: int = 100
    """Optimiser steps between checkpoints; a multiple of `iterations`; 0 = none."""
    keep_checkpoints: int = 1
    """Checkpoints that are kept; older ones are deleted."""
    probe_every: int = 50
    """Optimiser steps between measurements on the probe set, besides step 0 and the end; 0 = none
    at all."""
    probe_groups: int = 16
    """Offline groups in the probe set, drawn by seed."""
    measure_every: int = 50
    """Optimiser steps between measurements by `measure`, besides step 0 and the end."""
    stream_norm_every: int = 10
    """Optimiser steps between measurements of the two streams' gradient norms; such a step runs
    a second backward pass and holds two more copies of the gradients; 0 = never."""
    ratio_warning: float = 20.0
    """Warn where exp(ref - lp) of a token is above this: the KL term is about to explode."""
    report_to: tuple[str, ...] = ()
    """Trackers of transformers ("tensorboard", "wandb", ...); none unless asked."""

    def __post_init__(self) -> None:
        """Refuse values outside their range, naming the field."""
        for name, least in _AT_LEAST.items():
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        for name in ("learning_rate", "temperature", "max_grad_norm", "ratio_warning"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"max_steps must be at least 1 or None, got {self.max_steps}")
        if self.curriculum not in ("shuffled", "easy_to_hard"):
            raise ValueError(
                f"curriculum must be 'shuffled' or 'easy_to_hard', got {self.curriculum!r}"
            )
        if self.save_every % self.iterations:
            raise ValueError(
                f"save_every must be a multiple of iterations, or a resumed run would lack the "
                f"rollouts it is in the midst of: got {self.save_every} and {self.iterations}"
            )


_AT_LEAST = {
    "num_generations": 2,
    "max_new_tokens": 1,
    "iterations": 1,
    "groups_per_step": 1,
    "micro_batch_groups": 1,
    "rollout_rows": 1,
    "levels": 1,
    "offline_epochs": 0,
    "online_epochs": 0,
    "warmup_steps": 0,
    "weight_decay": 0,
    "save_every": 0,
    "keep_checkpoints": 1,
    "probe_every": 0,
    "probe_groups": 1,
    "measure_every": 1,
    "stream_norm_every": 0,
}
