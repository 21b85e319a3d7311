"""Objectives, curricula and optimisation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mbpo_core.config.base import Frozen
from mbpo_core.config.evaluation import Benchmark


class HybridGRPO(Frozen):
    """The hybrid loss of MBPO (eq. 7)."""

    kind: Literal["hybrid_grpo"] = "hybrid_grpo"
    beta: float = Field(0.04, ge=0)
    """R1-V."""
    clip: float = Field(0.2, gt=0)
    """Assumed; acts only where a rollout is used more than once."""
    advantages: Literal["pair", "raw"] = "pair"
    """Reading of the fixed offline rewards: normalised over the pair (assumed), or as they are."""
    aggregate: Literal["sample", "sequence", "token"] = "sample"
    """What the sums are divided by (assumed; the formula's arrangement is lost)."""
    chosen_reward: float = 2.0
    """Second-hand."""
    rejected_reward: float = 0.0
    """Assumed."""
    generations: int = Field(8, ge=2)
    """Rollouts of an online prompt; R1-V."""
    temperature: float = Field(1.0, gt=0)
    """R1-V."""
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int = Field(256, ge=1)
    """R1-V."""

    @property
    def roles(self) -> tuple[str, ...]:
        """Candidates that it reads."""
        return ("chosen", "rejected")

    @property
    def online(self) -> bool:
        """It has a loss for rollouts."""
        return True


class _OfflineOnly(Frozen):
    @property
    def online(self) -> bool:
        """It has no loss for rollouts."""
        return False


class Preference(_OfflineOnly):
    """Weighted logistic losses of text, image and margin: DPO, mDPO, MFPO, AdaViP's `+Vision`."""

    kind: Literal["preference"] = "preference"
    beta: float = Field(0.1, gt=0)
    """AdaViP: paper; MFPO and the others: assumed."""
    text: float = Field(1.0, ge=0)
    """Weight of -log s(D(y_w, v) - D(y_l, v)); MFPO's weights are 1:1:1 (paper)."""
    image: float = Field(0.0, ge=0)
    """Weight of -log s(D(y_w, v) - D(y_w, v'))."""
    margin: float = Field(0.0, ge=0)
    """Weight of -log s(D(y_w, v) - eta): MFPO's margin (second-hand), with eta 0 mDPO's anchor."""
    eta: float = 0.0
    """Paper: best of 0, 0.2 and 0.4."""

    @model_validator(mode="after")
    def _some_loss(self) -> Preference:
        if not (self.text or self.image or self.margin):
            raise ValueError("one of the weights text, image and margin must be above 0")
        return self

    @property
    def roles(self) -> tuple[str, ...]:
        """Candidates that it reads."""
        text = ("rejected",) if self.text else ()
        image = ("rejected_image",) if self.image else ()
        return ("chosen", *text, *image)


class PlackettLuce(_OfflineOnly):
    """Three-way softmax with adaptive weights (AdaViP, eq. 11)."""

    kind: Literal["plackett_luce"] = "plackett_luce"
    beta: float = Field(0.1, gt=0)
    """Paper."""

    @property
    def roles(self) -> tuple[str, ...]:
        """Candidates that it reads."""
        return ("chosen", "rejected", "rejected_image")


class SFT(_OfflineOnly):
    """Likelihood of the chosen responses alone."""

    kind: Literal["sft"] = "sft"

    @property
    def roles(self) -> tuple[str, ...]:
        """Candidates that it reads."""
        return ("chosen",)


Objective = Annotated[HybridGRPO | Preference | PlackettLuce | SFT, Field(discriminator="kind")]


class Shuffled(Frozen):
    """Mini-batches drawn at random from the union of both streams (paper)."""

    kind: Literal["shuffled"] = "shuffled"


class EasyToHard(Frozen):
    """Levels of rising answer entropy, one after the other (MFPO)."""

    kind: Literal["easy_to_hard"] = "easy_to_hard"
    levels: int = Field(3, ge=2)
    """Paper; equal parts by rank are assumed."""


Curriculum = Annotated[Shuffled | EasyToHard, Field(discriminator="kind")]


class Lora(Frozen):
    """Low-rank adapters on the language model only; no dropout, so that the ratio stays 1."""

    rank: int = Field(64, ge=1)
    alpha: int = Field(128, ge=1)


class TrainConfig(Frozen):
    """Optimisation; full fine-tuning as in R1-V unless `lora` is given."""

    objective: Objective = HybridGRPO()
    curriculum: Curriculum = Shuffled()
    learning_rate: float = Field(1e-6, gt=0)
    """R1-V."""
    groups_per_step: int = Field(32, ge=1)
    """Effective batch size over both streams (assumed; unknown)."""
    micro_batch_groups: int = Field(1, ge=1)
    offline_epochs: int = Field(1, ge=0)
    """Assumed."""
    online_epochs: int = Field(1, ge=0)
    """Paper."""
    max_steps: int | None = Field(None, ge=1)
    warmup_steps: int = Field(0, ge=0)
    lr_scheduler: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    """R1-V."""
    gradient_checkpointing: bool = True
    bf16: bool = True
    """Autocast around float32 weights (R1-V trains in bfloat16 with float32 optimiser states):
    weights that are themselves bfloat16 do not move at a learning rate of 1e-6."""
    freeze_vision: bool = False
    lora: Lora | None = None
    save_every: int = Field(100, ge=1)
    probe_every: int = Field(50, ge=1)
    probe_groups: int = Field(32, ge=1)
    benchmarks: tuple[Benchmark, ...] = ()
    """Closed-ended benchmarks that are asked during training: `train_benchmarks`. Choose settings
    by others than those that are reported."""
    benchmark_every: int = Field(50, ge=1)
    """Steps between two measurements, besides the start and the end."""
    benchmark_questions: int = Field(100, ge=1)
    """Questions of each, drawn by the run's seed."""
    stream_norm_every: int = Field(50, ge=0)
    cpu_threads: int = Field(1, ge=1)
    """Part of what makes a CPU run repeat bit for bit, so part of the fingerprint."""
