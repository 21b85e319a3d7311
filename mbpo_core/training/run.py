"""The entry: groups in, a trained model and the tables of its run out."""

import dataclasses
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from peft import PeftModel
from torch import Tensor
from transformers import TrainingArguments
from transformers.utils.logging import (
    disable_progress_bar,
    enable_progress_bar,
    is_progress_bar_enabled,
)

from mbpo_core.grouping import Group, by_id
from mbpo_core.models.loading import save_policy
from mbpo_core.models.qwen_vl import QwenVL, unwrapped
from mbpo_core.objectives.protocol import Objective
from mbpo_core.training.adaptation import Reference, prepare_policy
from mbpo_core.training.assembly import Assembler
from mbpo_core.training.batches import Encoder, plan_slots
from mbpo_core.training.checkpoints import newest_checkpoint, step_of
from mbpo_core.training.config import TrainingConfig
from mbpo_core.training.log import Row, TrainingLog
from mbpo_core.training.plan import planned_steps, readable
from mbpo_core.training.probes import probe_set
from mbpo_core.training.rollouts import RewardFn
from mbpo_core.training.sharding import Gathering, layout, sharding_is_asked
from mbpo_core.training.trainer import GroupTrainer, autocast_for

RUN_FILE = "run.json"


@dataclass(frozen=True)
class TrainResult:
    """What a finished run leaves behind."""

    steps: int
    """Optimiser steps done, those before a resume included."""
    tables: dict[str, list[Row]]
    """`steps`, `probes`, `rollouts`, `benchmarks` and `skipped`; see `TrainingLog`."""
    model_path: Path
    """Folder that `load_policy` opens; the adapter's folder where merging was switched off."""
    adapter_path: Path | None
    """Folder of the adapter; None after full fine-tuning."""


def train(
    policy: QwenVL,
    groups: Sequence[Group],
    images: Mapping[str, Tensor],
    config: TrainingConfig,
    output_dir: Path,
    reward_fn: RewardFn,
    *,
    objective: Objective,
    resume: bool,
    on_step: Callable[[Row], None] | None = None,
    measure: Callable[[QwenVL], list[Row]] | None = None,
) -> TrainResult:
    """Train a policy on offline and online groups with an objective (MBPO: eq. 7).

    Per optimiser step: a mini-batch as the curriculum has it; G rollouts of each online prompt,
    verified; one forward pass per micro-batch over both streams; one update.

    Args:
        policy: the initial policy, on its device; it is trained in place. Its state at the call
            is the reference, also when an interrupted run is resumed: pass the initial one then.
        groups: both streams; of an offline group only the roles that the objective reads are used.
        images: image id -> uint8 [3, H, W], sides as the model wants them.
        config: settings.
        output_dir: takes checkpoints, `log/` (JSON lines), `model/` and `adapter/`.
        reward_fn: verifies a rollout; called as (text, kind, answer, options).
        objective: the loss; its repr is part of what a run is.
        resume: continue from the newest whole checkpoint in `output_dir`, or start where there is
            none. Log rows after that checkpoint are dropped and written again.
        on_step: called with each row of the `steps` table.
        measure: returns rows of the `benchmarks` table for the policy as it is; called before the
            first step, every `measure_every` steps and at the end. Draws no random numbers.

    Raises:
        FileExistsError: where `output_dir` holds a run and `resume` is false.
        ValueError: where it holds *another* run, a row is over the length limit, or a group (it is
            named) is not one that the objective and the curriculum can read.
        FloatingPointError: nothing was finite in several steps in a row (`nonfinite.PATIENCE`).

    Differs from the paper: it states none of the optimiser's settings; see `TrainingConfig`.
    """
    groups = readable(groups, objective, config)
    plan = planned_steps(groups, config)
    args = _arguments(policy, config, output_dir, len(plan) * config.iterations)
    with args.main_process_first(local=False):
        if args.process_index == 0:
            _claim(output_dir, _identity(config, objective, plan, groups), resume=resume)
        checkpoint = newest_checkpoint(output_dir, layout())
    prepare_policy(policy, config)
    log = TrainingLog(
        output_dir / "log", keep_steps=step_of(checkpoint), writes=args.process_index == 0
    )
    trainer = _trainer(
        policy, groups, images, config, reward_fn, objective, plan, args, log, on_step, measure,
    )  # fmt: skip
    with _without_bars(), _features_kept(policy):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        trainer.probe()
        trainer.measure()
        return _finish(trainer, policy, config, output_dir)


def _trainer(
    policy: QwenVL,
    groups: Sequence[Group],
    images: Mapping[str, Tensor],
    config: TrainingConfig,
    reward_fn: RewardFn,
    objective: Objective,
    plan: Sequence[Sequence[str]],
    args: TrainingArguments,
    log: TrainingLog,
    on_step: Callable[[Row], None] | None,
    measure: Callable[[QwenVL], list[Row]] | None,
) -> GroupTrainer:
    """Check the rows of the plan, freeze the reference, and put the trainer together."""
    index = by_id(groups)
    encoder = Encoder(policy, images)
    encoder.check(
        [index[i] for i in sorted({i for batch in plan for i in batch})], config.max_new_tokens
    )
    autocast = partial(autocast_for, args.device, config)
    gathering = Gathering(policy, sharded=sharding_is_asked())
    reference = None
    if objective.needs_reference:
        reference = Reference(policy, encoder, autocast=autocast, gathering=gathering)
        reference.to(args.device)
    return GroupTrainer(
        policy=policy,
        gathering=gathering,
        encoder=encoder,
        assembler=Assembler(policy, encoder, reference, config, reward_fn, autocast, gathering),
        objective=objective,
        config=config,
        args=args,
        slots=plan_slots(
            plan, index, args.gradient_accumulation_steps * args.world_size, config.iterations
        ),
        probes=probe_set(groups, config.probe_groups, config.seed),
        log=log,
        on_step=on_step,
        measure=measure,
    )


@contextmanager
def _without_bars() -> Iterator[None]:
    """Silence the bars that transformers draws for every saved file; `on_step` tells progress."""
    shown = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            enable_progress_bar()


@contextmanager
def _features_kept(policy: QwenVL) -> Iterator[None]:
    """Keep visual tokens within a step where the tower is frozen; the reference shares them."""
    tower = unwrapped(policy.model).model.visual
    if any(parameter.requires_grad for parameter in tower.parameters()):
        yield
    else:
        with policy.images.remembering():
            yield


def _arguments(
    policy: QwenVL, config: TrainingConfig, output_dir: Path, total: int
) -> TrainingArguments:
    """The Trainer's settings: ours where we have one, quiet and deterministic elsewhere."""
    args = TrainingArguments(
        output_dir=str(output_dir),
        max_steps=min(config.max_steps or total, total),
        per_device_train_batch_size=1,  # a slot, which holds a micro-batch of groups
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.lr_scheduler,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        # Autocast is ours (`autocast_for`): FSDP and DeepSpeed would round gradients and weights.
        bf16=False,
        seed=config.seed,
        # Told to use the CPU, accelerate would leave DeepSpeed out and not say so.
        use_cpu=policy.device.type == "cpu" and layout() != "DeepSpeed",
        save_strategy="steps" if config.save_every else "no",
        save_steps=config.save_every or 1,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=list(config.report_to) or "none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
    )
    # Only the arguments know the number of ranks, and only then is the accumulation known.
    at_once = config.micro_batch_groups * args.world_size
    args.gradient_accumulation_steps = math.ceil(config.groups_per_step / at_once)
    return args


def _identity(
    config: TrainingConfig,
    objective: Objective,
    plan: Sequence[Sequence[str]],
    groups: Sequence[Group],
) -> str:
    """What a run is, as JSON: a folder that holds another one is not resumed."""
    record = sorted((dataclasses.astuple(group) for group in groups), key=lambda group: group[0])
    content = hashlib.sha256(json.dumps([plan, record]).encode()).hexdigest()
    settings = {"config": dataclasses.asdict(config), "objective": repr(objective)}
    return json.dumps(settings | {"content": content}, indent=1)


def _claim(output_dir: Path, identity: str, *, resume: bool) -> None:
    """Mark the folder as this run's."""
    output_dir.mkdir(parents=True, exist_ok=True)
    run_file = output_dir / RUN_FILE
    if run_file.exists():
        if not resume:
            raise FileExistsError(f"{output_dir} holds a run already; resume it or name another")
        if run_file.read_text() != identity:
            raise ValueError(
                f"{output_dir} holds a run with other settings or groups; it cannot be resumed"
            )
        return
    # In one move: a kill inside of writing would leave a file that no run could resume from.
    fresh = run_file.with_suffix(".partial")
    fresh.write_text(identity)
    os.replace(fresh, run_file)


def _finish(
    trainer: GroupTrainer, policy: QwenVL, config: TrainingConfig, output_dir: Path
) -> TrainResult:
    """Write the trained model so that it loads like any checkpoint."""
    if trainer.gathering.sharded:
        trainer.gathering.fill()
    else:
        policy.model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    policy.model.eval()
    model_path, adapter_path = output_dir / "model", None
    main = trainer.is_world_process_zero()
    if main:  # a kill inside of an earlier save left pieces of it
        for folder in (model_path, output_dir / "adapter"):
            shutil.rmtree(folder, ignore_errors=True)
    if isinstance(policy.model, PeftModel):
        adapter_path = output_dir / "adapter"
        if main:
            policy.model.save_pretrained(adapter_path)
        if config.lora is not None and config.lora.merge:
            policy.model = policy.model.merge_and_unload()
        else:
            model_path = adapter_path
    if main and model_path != adapter_path:
        model_path.mkdir(exist_ok=True)
        save_policy(policy, model_path)
    trainer.accelerator.wait_for_everyone()
    return TrainResult(trainer.state.global_step, trainer.tables.tables, model_path, adapter_path)
