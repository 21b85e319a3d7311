"""The Trainer of transformers with an objective over ranked groups.

Resume, accumulation, mixed precision, distribution and trackers are the Trainer's. Ours are three
methods: what is prepared once per optimiser step (`get_batch_samples`: rollouts, rewards,
reference, counts), one forward and backward pass (`training_step`) and the row that is logged.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType, gather_object
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from mbpo_core.grouping import Group
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.objectives.protocol import Counts, Metrics, Objective, ObjectiveOutput
from mbpo_core.training.assembly import Assembler
from mbpo_core.training.batches import Encoder, MicroBatch, Slot, score
from mbpo_core.training.checkpoints import keep_newest, seal
from mbpo_core.training.config import TrainingConfig
from mbpo_core.training.log import Row, TrainingLog
from mbpo_core.training.nonfinite import (
    NONFINITE_GRADIENT,
    NONFINITE_LOSS,
    PATIENCE,
    broken_groups,
    finite,
    nothing_of,
    without,
)
from mbpo_core.training.probes import probe
from mbpo_core.training.sharding import Gathering, layout, prepare_sharding
from mbpo_core.training.stream_norms import REPLICATED, StreamNorms, check_supported

logger = logging.getLogger(__name__)


class GroupTrainer(Trainer):
    """Trains a policy on slots of groups with an objective."""

    def __init__(
        self,
        *,
        policy: QwenVL,
        gathering: Gathering,
        encoder: Encoder,
        assembler: Assembler,
        objective: Objective,
        config: TrainingConfig,
        args: TrainingArguments,
        slots: Sequence[Slot],
        probes: Sequence[Group],
        log: TrainingLog,
        on_step: Callable[[Row], None] | None,
        measure: Callable[[QwenVL], list[Row]] | None = None,
    ) -> None:
        """Bind the parts; `train()` is the Trainer's."""
        super().__init__(
            model=gathering.model, args=args, train_dataset=slots, data_collator=_only_item
        )
        self.remove_callback(PrinterCallback)
        self.add_callback(_Probing(self))
        if config.stream_norm_every:
            check_supported(self.accelerator)
        self.policy, self.encoder, self.assembler = policy, encoder, assembler
        self.gathering = gathering
        self.objective, self.config = objective, config
        self.probe_groups, self.tables, self.on_step = probes, log, on_step
        self._measure, self._measured_at = measure, -1
        self._counts = Counts(0, 0, 0)
        self._metrics = Metrics()
        self._totals: dict[str, Any] = {}
        self._norms: StreamNorms | None = None
        self._batches: list[MicroBatch] = []
        self._skipped: list[Row] = []
        self._lost_steps = 0

    # --- what the Trainer does not need to know -------------------------------------------------

    def create_accelerator_and_postprocess(self) -> None:
        """See that a launcher's request for FSDP is met."""
        super().create_accelerator_and_postprocess()
        prepare_sharding(self.accelerator)
        self.is_fsdp_enabled = self.accelerator.is_fsdp2

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler:
        """Slots in the planned order: the curriculum has shuffled already."""
        return torch.utils.data.SequentialSampler(train_dataset or self.train_dataset)

    def _prepare_inputs(self, inputs: MicroBatch) -> MicroBatch:
        return inputs

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load a whole model by its own loader.

        `save_pretrained` writes Qwen2-VL's weights under the names of the published checkpoints;
        the Trainer would look for the module's names, find none of them, warn, and go on with the
        initial weights.
        """
        if model is not None or not isinstance(self.model, PreTrainedModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        loaded = type(self.model).from_pretrained(
            resume_from_checkpoint, dtype=self.model.dtype, use_safetensors=True
        )
        self.model.load_state_dict(loaded.state_dict())

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save, and count it only when every rank has written its part."""
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            folder = Path(self.args.output_dir)
            seal(folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}", layout())
            keep_newest(folder, self.config.keep_checkpoints)

    def floating_point_ops(self, inputs: MicroBatch) -> int:
        """Not counted."""
        return 0

    # --- once per optimiser step ----------------------------------------------------------------

    def get_batch_samples(
        self, epoch_iterator: Iterator[Slot], num_batches: int, device: torch.device
    ) -> tuple[list[MicroBatch], None]:
        """Roll out, verify, score the reference and count, for all micro-batches of a step."""
        slots = [slot for _, slot in zip(range(num_batches), epoch_iterator, strict=False)]
        self.encoder.forget()
        self.policy.model.eval()
        step = self.assembler.assemble(slots)
        self._write("rollouts", step.rollout_rows)
        self._metrics = step.metrics
        self._batches, self._skipped = step.batches, []
        self._totals = {
            "loss_offline": 0.0,
            "loss_online": 0.0,
            "grad_norm_offline": None,
            "grad_norm_online": None,
        }
        self._counts = self._count(step.batches)
        every = self.config.stream_norm_every
        measured = every and slots[0].step % every == 0
        self._norms = StreamNorms(self.model.parameters()) if measured else None
        return step.batches, None

    def _count(self, batches: Sequence[MicroBatch]) -> Counts:
        """Samples, sequences and tokens of the whole step over all ranks."""
        real = [batch for batch in batches if not batch.slot.dummy]
        groups = [group for batch in real for group in batch.scored]
        online = sum(group.stream == "online" for group in groups)
        local = [
            len(groups),
            sum(len(group.roles) for group in groups),
            sum(batch.tokens for batch in real),
            len(groups) - online,
            online,
        ]
        total = self.accelerator.reduce(torch.tensor(local, device=self.args.device), "sum")
        samples, sequences, tokens, offline, online = total.tolist()
        self._totals |= {
            "groups_offline": offline,
            "groups_online": online,
            "sequences": sequences,
            "tokens": tokens,
        }
        return Counts(samples, sequences, tokens)

    # --- one micro-batch ------------------------------------------------------------------------

    def autocast(self) -> torch.autocast:
        """The precision of every forward pass of the run."""
        return autocast_for(self.args.device, self.config)

    def compute_output(self, model: nn.Module, batch: MicroBatch) -> ObjectiveOutput:
        """One forward pass over all rows of both streams, then the objective.

        A group whose loss is not finite is left out, and the rest passed forward once more. Where
        parameters are sharded no rank may do so alone; there the whole step is skipped later.
        """
        with self.autocast():
            logps = score(self.policy, batch.offline, batch.online, self.config.temperature, model)
        if batch.slot.dummy:
            nothing = sum(row.sum() for row in logps) * 0.0
            output = ObjectiveOutput(nothing, nothing, Metrics())
        else:
            output = self.objective(logps, batch.reference, batch.scored, self._counts, batch.old)
        replicated = self.accelerator.distributed_type in REPLICATED
        if math.isfinite(output.loss.item()) or not replicated:
            return output
        if batch.slot.dummy:
            return nothing_of(self.policy.model)
        return self._without_broken(batch, [row.detach() for row in logps])

    def _without_broken(self, batch: MicroBatch, logps: list[Tensor]) -> ObjectiveOutput:
        """Leave out what is not finite; the second forward pass is this rank's own business."""
        broken = broken_groups(self.objective, logps, batch, self._counts)
        rest = without(batch, broken)
        self._skip(broken, NONFINITE_LOSS)
        if not rest.scored:
            return nothing_of(self.policy.model)
        with self.autocast():
            again = score(self.policy, rest.offline, rest.online, self.config.temperature)
        output = self.objective(again, rest.reference, rest.scored, self._counts, rest.old)
        if math.isfinite(output.loss.item()):
            return output
        self._skip({group.group_id for group in rest.scored}, NONFINITE_LOSS)
        return nothing_of(self.policy.model)

    def _skip(self, group_ids: set[str], reason: str) -> None:
        step = self.state.global_step + 1
        self._skipped += [
            {"step": step, "group_id": name, "reason": reason} for name in sorted(group_ids)
        ]

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> float:
        """Drop a gradient that is not finite: without one the optimiser changes nothing.

        The norm is that of all ranks together, so all of them drop theirs.
        """
        norm = float(super()._get_grad_norm(model, grad_norm=grad_norm))
        if not math.isfinite(norm):
            model.zero_grad()
            lost = {row["group_id"] for row in self._skipped}
            real = [batch for batch in self._batches if not batch.slot.dummy]
            used = {group.group_id for batch in real for group in batch.scored}
            self._skip(used - lost, NONFINITE_GRADIENT)
        return norm

    def training_step(
        self,
        model: nn.Module,
        inputs: MicroBatch,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Forward and backward pass of one micro-batch.

        The objective has divided by counts of the whole step, so nothing is divided by the
        accumulation; ranks are *averaged* by DDP, hence the factor.
        """
        model.train()
        ranks = self.accelerator.num_processes
        with self.accelerator.no_sync(model) if self._norms else nullcontext():
            output = self.compute_output(model, inputs)
            if self._norms is not None:
                self._norms.backward(output)
            else:
                whole = self.accelerator.distributed_type == DistributedType.DEEPSPEED
                kwargs = {"scale_wrt_gas": False} if whole else {}
                self.accelerator.backward(output.loss * ranks, **kwargs)
        if self._norms is not None and self.accelerator.sync_gradients:
            self._totals |= self._norms.finish(self.accelerator)
        self._metrics.merge(output.metrics)
        self._totals["loss_offline"] += output.offline.item()
        self._totals["loss_online"] += output.online.item()
        return output.loss.detach() * ranks

    # --- the record -----------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write the row of an optimiser step; the Trainer's closing summary is wall time only."""
        if "loss" not in logs:
            return
        row, skipped = self._step_row(logs)
        super().log({key: value for key, value in row.items() if value is not None}, start_time)
        self._write("steps", [row], gathered=True)
        self._write("skipped", skipped, gathered=True)
        self._heed(row, skipped)
        for stream in ("offline", "online"):
            ratio = row.get(f"max_reference_ratio_{stream}")
            if ratio is not None and ratio > self.config.ratio_warning:
                logger.warning(
                    "step %d: exp(ref - lp) of an %s token is %.1f: its probability has fallen "
                    "far below the reference's and the KL term grows exponentially",
                    row["step"],
                    stream,
                    ratio,
                )
        if self.on_step is not None and self.is_world_process_zero():
            self.on_step(row)

    def _heed(self, row: Row, skipped: list[Row]) -> None:
        """Warn of groups that were skipped; end a run in which nothing is trained on any more.

        Raises:
            FloatingPointError: nothing was usable in `PATIENCE` steps in a row.
        """
        if skipped:
            named = ", ".join(f"{each['group_id']} ({each['reason']})" for each in skipped[:3])
            logger.warning("step %d: %d groups skipped: %s", row["step"], len(skipped), named)
        whole = bool(skipped) and len(skipped) >= row["groups_offline"] + row["groups_online"]
        self._lost_steps = self._lost_steps + 1 if whole else 0
        if self._lost_steps >= PATIENCE:
            raise FloatingPointError(
                f"the loss or gradient of every group was not finite in the {PATIENCE} steps up to "
                f"{row['step']} ({named}): the weights are broken; try a lower learning rate"
            )

    def _step_row(self, logs: dict[str, float]) -> tuple[Row, list[Row]]:
        """Return the row of a step, and those of the groups that it skipped, over all ranks."""
        parts = [(self._metrics, self._totals, self._skipped)]
        if self.accelerator.num_processes > 1:
            parts = gather_object(parts)
        metrics, losses = Metrics(), dict(self._totals)
        for part, *_ in parts:
            metrics.merge(part)
        for name in ("loss_offline", "loss_online"):
            losses[name] = sum(part[name] for _, part, _ in parts)
        skipped = [row for _, _, rows in parts for row in rows]
        row = {
            "step": self.state.global_step,
            "loss": losses["loss_offline"] + losses["loss_online"],
            **losses,
            "learning_rate": logs["learning_rate"],
            "grad_norm": float(logs["grad_norm"]),
            "skipped": len(skipped),
            **metrics.values(),
        }
        return finite(row), skipped

    def probe(self) -> None:
        """Measure the probe set at the current step, on every rank; the first one writes."""
        step = self.state.global_step
        if not self.config.probe_every:
            return
        self.policy.model.eval()
        with self.gathering.policy(), self.autocast():
            rows = probe(self.policy, self.encoder, self.probe_groups, step)
        if self.tables.last_step("probes") != step:  # the end may coincide with a regular probe
            self._write("probes", [finite(row) for row in rows], gathered=True)

    def measure(self) -> None:
        """Ask the benchmarks at the current step, on every rank; the first one writes."""
        step = self.state.global_step
        if self._measure is None or self._measured_at == step:
            return
        self._measured_at = step
        self.policy.model.eval()
        with self.gathering.policy(), self.autocast():
            rows = self._measure(self.policy)
        if self.tables.last_step("benchmarks") != step:  # a resumed run may have kept them
            self._write("benchmarks", [{"step": step} | row for row in rows], gathered=True)

    def _write(self, table: str, rows: list[Row], *, gathered: bool = False) -> None:
        """Hand rows to the log (it writes on the first rank); gather those that differ by rank."""
        if self.accelerator.num_processes > 1 and not gathered:
            rows = gather_object(rows)
        self.tables.add(table, rows)


class _Probing(TrainerCallback):
    """Probes and benchmarks before the first step and every so many; the end is the caller's."""

    def __init__(self, trainer: GroupTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure the initial policy."""
        if state.global_step == 0:
            self._trainer.probe()
            self._trainer.measure()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure after every `probe_every` and `measure_every` steps."""
        config = self._trainer.config
        if config.probe_every and state.global_step % config.probe_every == 0:
            self._trainer.probe()
        if state.global_step % config.measure_every == 0:
            self._trainer.measure()


def autocast_for(device: torch.device, config: TrainingConfig) -> torch.autocast:
    """Autocast to bfloat16 where asked, a no-op otherwise."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.bf16)


def _only_item(items: Iterable[Any]) -> Any:
    """Collator: a slot is a batch already."""
    (item,) = items
    return item
