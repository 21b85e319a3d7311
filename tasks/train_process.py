"""Training as a stage runs it: in the worker, or under a launcher as `-m tasks.train_process`."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mbpo_core.config import Recipe, TrainConfig
from mbpo_core.grouping import Group
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.objectives.grpo import HybridGRPO
from mbpo_core.objectives.plackett_luce import PlackettLuce
from mbpo_core.objectives.preference import PreferenceLosses
from mbpo_core.objectives.protocol import Objective
from mbpo_core.objectives.sft import SFT
from mbpo_core.rewards import verify
from mbpo_core.training import (
    LoraSettings,
    TrainingConfig,
    levels_of_groups,
    planned_steps,
    train,
)
from tasks.lifeline import end_with_parents
from tasks.models import forget_policy, model_identity, open_policy
from tasks.requests import job_of
from tasks.stage import Job
from tasks.train_benchmarks import benchmark_measure
from tasks.train_inputs import (
    NO_DIFFICULTY,
    UNUSED_STREAM,
    StoredImages,
    group_of,
    group_rows,
    unfit,
)


def objective_of(train: TrainConfig) -> Objective:
    """Return the objective that a recipe names, with its settings but those of rollouts."""
    settings = train.objective.model_dump(exclude={"kind", *_ROLLOUTS})
    return _OBJECTIVES[train.objective.kind](**settings)


_OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "hybrid_grpo": HybridGRPO,
    "preference": PreferenceLosses,
    "plackett_luce": PlackettLuce,
    "sft": SFT,
}
_ROLLOUTS = {
    "generations": "num_generations",
    "temperature": "temperature",
    "top_p": "top_p",
    "max_new_tokens": "max_new_tokens",
}
"""Settings of rollouts, which a recipe keeps with an objective that has a loss for them."""


def training_config(recipe: Recipe) -> TrainingConfig:
    """Return the settings of a recipe as training takes them."""
    train, objective = recipe.train, recipe.train.objective.model_dump()
    return TrainingConfig(
        seed=recipe.seed,
        curriculum=train.curriculum.kind,
        **train.curriculum.model_dump(exclude={"kind"}),
        lora=train.lora and LoraSettings(rank=train.lora.rank, alpha=train.lora.alpha),
        **{ours: objective[name] for name, ours in _ROLLOUTS.items() if name in objective},
        measure_every=train.benchmark_every,
        **{name: getattr(train, name) for name in _SAME},
    )


_SAME = (
    "learning_rate", "groups_per_step", "micro_batch_groups", "offline_epochs",
    "online_epochs", "max_steps", "warmup_steps", "lr_scheduler", "weight_decay", "max_grad_norm",
    "gradient_checkpointing", "freeze_vision", "save_every", "probe_every", "probe_groups",
    "stream_norm_every", "bf16",
)  # fmt: skip


def run(job: Job, device: str, work: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Train and return the rows that are not in the training's own log; `say` hears each step."""
    recipe, config = job.recipe, training_config(job.recipe)
    rows = group_rows(job)
    images = StoredImages(job, rows)
    # Autocast wants float32 weights; without it they are trained as the recipe loads them.
    forget_policy()
    policy = open_policy(recipe.policy, device, dtype="float32" if config.bf16 else None)
    forget_policy()  # trained in place, it is no longer what others would take it for
    reasons = {row["group_id"]: row["reason"] or _not_trained(policy, row, config)
               for row in rows}  # fmt: skip
    groups = [group_of(row) for row in rows if reasons[row["group_id"]] is None]
    total = recipe.train.max_steps

    def on_step(row: dict[str, Any]) -> None:
        of = f" of {total}" if total else ""
        say(f"step {row['step']}{of}: loss {row['loss']:.4f}")

    started = time.monotonic()
    with _memory_said(config):
        result = train(
            policy, groups, images, config, work / "run", verify,
            objective=objective_of(recipe.train), resume=True, on_step=on_step,
            measure=benchmark_measure(job, policy),
        )  # fmt: skip
    seconds = time.monotonic() - started
    return {
        "checkpoint": {
            "checkpoint_id": job.key,
            "base_model": model_identity(recipe.policy),
            "path": result.model_path.name,
            "steps": result.steps,
            "groups_offline": sum(g.stream == "offline" for g in groups),
            "groups_online": sum(g.stream == "online" for g in groups),
            "parameters": sum(p.numel() for p in policy.model.parameters()),
        },
        "groups": _uses(rows, groups, reasons, config, result.tables["skipped"]),
        "ranks": int(os.environ.get("WORLD_SIZE", "1")),
        "model_seconds": round(seconds, 3),
    }


@contextmanager
def _memory_said(config: TrainingConfig) -> Iterator[None]:
    """Say what can be done where a step does not fit into the device's memory.

    Nothing is halved here: a backward pass that fails has summed up part of its gradient.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RuntimeError(
            f"training does not fit into memory with micro_batch_groups={config.micro_batch_groups}"
            f" and gradient_checkpointing={config.gradient_checkpointing}. If another program held"
            " the memory, run the same again: it goes on from the newest checkpoint. Else lower"
            " train.micro_batch_groups or set train.gradient_checkpointing=true, which begins anew."
            f"\n{error}"
        ) from error


def _not_trained(policy: QwenVL, row: dict[str, Any], config: TrainingConfig) -> str | None:
    epochs = {"offline": config.offline_epochs, "online": config.online_epochs}
    if not epochs[row["stream"]]:
        return UNUSED_STREAM
    if config.curriculum == "easy_to_hard" and row["difficulty"] is None:
        return NO_DIFFICULTY
    return unfit(policy, row, config.max_new_tokens)


def _uses(
    rows: list[dict[str, Any]],
    groups: list[Group],
    reasons: dict[str, str | None],
    config: TrainingConfig,
    skipped: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Return how often each group was trained on, and what is the matter with it if anything.

    A step that skipped a group for a loss or gradient that was not finite is no use of it.
    """
    levels = levels_of_groups(groups, config)
    steps = _steps(planned_steps(groups, config), config, skipped)
    reasons = reasons | {row["group_id"]: row["reason"] for row in skipped}
    return [
        {
            "group_id": row["group_id"],
            "stream": row["stream"],
            "uses": len(steps[row["group_id"]]),
            "steps": steps[row["group_id"]],
            "level": levels.get(row["group_id"]),
            "reason": reasons[row["group_id"]]
            or (None if steps[row["group_id"]] else "not_reached"),
        }
        for row in rows
    ]


def _steps(
    plan: list[list[str]], config: TrainingConfig, skipped: list[dict[str, Any]]
) -> defaultdict[str, list[int]]:
    """Return the optimiser steps (1-based) that used each group; those that skipped it did not."""
    lost = {(row["step"], row["group_id"]) for row in skipped}
    steps: defaultdict[str, list[int]] = defaultdict(list)
    for index, batch in enumerate(plan):
        for step in range(index * config.iterations + 1, (index + 1) * config.iterations + 1):
            if config.max_steps is None or step <= config.max_steps:
                for group_id in (name for name in batch if (step, name) not in lost):
                    steps[group_id].append(step)
    return steps


def _device(given: str) -> str:
    """Return the device of this rank; under a launcher each has its own."""
    rank = os.environ.get("LOCAL_RANK")
    return f"cuda:{rank}" if rank is not None and given.startswith("cuda") else given


def main() -> None:
    """Read the request, train, write `result.json`."""
    end_with_parents()
    path = Path(sys.argv[1])
    request = json.loads(path.read_text(encoding="utf-8"))
    device = _device(request.pop("device"))
    job = job_of(request, device)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if device == "cpu":
        torch.set_num_threads(job.recipe.train.cpu_threads)
    result = run(job, device, path.parent, lambda text: print(text, flush=True))
    if int(os.environ.get("RANK", "0")) == 0:
        (path.parent / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
