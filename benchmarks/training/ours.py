"""Our side: `mbpo_core.training.train` as it is, timed from the outside."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

from benchmarks.training.batch import Work, build_policy, groups_of, images_of, reward
from benchmarks.training.phases import GENERATION, GRADIENT, REFERENCE, Stopwatch
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.objectives.grpo import HybridGRPO
from mbpo_core.rewards import Verdict
from mbpo_core.training import TrainingConfig, planned_steps, train
from mbpo_core.training.adaptation import Reference
from mbpo_core.training.trainer import GroupTrainer


def run(work: Work, folder: Path, watch: Stopwatch, on_step: Callable[[], None]) -> None:
    """Train `work.steps` optimiser steps; `on_step` is called after each."""
    watch.method(QwenVL, "sample", GENERATION)
    watch.method(Reference, "offline", REFERENCE)
    watch.method(Reference, "online", REFERENCE)
    watch.method(GroupTrainer, "training_step", GRADIENT)
    watch.optimiser()
    groups = groups_of(work)
    train(
        build_policy(work),
        groups,
        images_of(work, groups),
        _config(work),
        folder / "run",
        _verdict,
        objective=HybridGRPO(beta=work.beta),
        resume=False,
        on_step=lambda row: on_step(),
    )


def _config(work: Work) -> TrainingConfig:
    """Steps of one group, or of exactly one of each stream; nothing measured on the side."""
    size = 2 if work.stream == "hybrid" else 1
    for seed in count():
        config = TrainingConfig(
            learning_rate=work.learning_rate,
            num_generations=work.generations,
            max_new_tokens=work.new_tokens,
            groups_per_step=size,
            micro_batch_groups=1,  # a prompt and a pair differ too much in length to be padded
            lora=work.lora if work.tuning == "lora" else None,
            save_every=0,
            probe_every=0,
            stream_norm_every=0,
            seed=seed,
        )
        plan = planned_steps(groups_of(work), config)
        if all(len({group_id.split("-")[0] for group_id in step}) == size for step in plan):
            return config
    raise AssertionError("unreachable")


def _verdict(text: str, kind: str, answer: str, options: object) -> Verdict:
    return Verdict(reward(text), None, "parity")
