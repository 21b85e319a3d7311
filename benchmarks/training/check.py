"""Both trainers compute the same thing: log-probabilities, loss and gradient on TRL's own batch.

Before a batch is scored, the policy is moved away from its reference; otherwise the loss of GRPO
is 0 and that of DPO log 2, whatever the log-probabilities are.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from trl import GRPOTrainer

from benchmarks.measure import require_equal
from benchmarks.training.baseline import build_trainer
from benchmarks.training.batch import Work, build_policy, groups_of, images_of, reward, text_of
from mbpo_core.models.preprocessing import ImageConfig, unpatchify
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.objectives.grpo import HybridGRPO
from mbpo_core.objectives.protocol import Counts, ScoredGroup
from mbpo_core.training.batches import Encoder

TOLERANCE = 1e-3
"""Of log-probabilities in nats, of a loss, and of a gradient in units of its largest element."""


def check(work: Work, folder: Path) -> None:
    """Compare on one batch of TRL's trainer of this stream. Errors: ValueError where they differ.

    TRL draws the rollouts; ours are scored on the same ids.
    """
    trainer = build_trainer(work, folder)
    _move(trainer.model)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    policy = QwenVL(trainer.model, build_policy(work).tokenizer, ImageConfig())
    rows = _rows(policy, batch, work)
    _same_ids(policy, rows, work)
    logps = policy.token_logps(*rows)
    online = isinstance(trainer, GRPOTrainer)
    theirs = _scored_by_trl(trainer, batch)
    name = f"{work.stream} {work.tuning}"
    require_equal(f"{name} log-probabilities", logps, theirs, TOLERANCE)
    ours = _grpo(policy, logps, batch, work) if online else _dpo(trainer, logps, batch, work)
    loss = trainer.compute_loss(trainer.model, batch)
    require_equal(f"{name} loss", [ours], [loss], TOLERANCE)
    _compare_gradients(name, trainer.model, ours, loss)


def _move(model: nn.Module) -> None:
    """Change what is trained, reproducibly."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.003 * torch.randn(parameter.shape, generator=generator)


def _rows(
    policy: QwenVL, batch: dict[str, Any], work: Work
) -> tuple[list[list[int]], list[list[int]], list[Tensor]]:
    """Prompts, responses and images of TRL's batch; equal images become one tensor."""
    if "prompt_ids" in batch:
        prompts = _masked(batch["prompt_ids"], batch["prompt_mask"])
        responses = _masked(batch["completion_ids"], batch["completion_mask"])
    else:
        completion, seen = batch["completion_mask"], batch["attention_mask"]
        prompts = _masked(batch["input_ids"], seen * (1 - completion))
        responses = _masked(batch["input_ids"], completion)
    patches = batch["pixel_values"].chunk(len(prompts))
    if not all(torch.equal(part, patches[0]) for part in patches):
        raise ValueError("the rows of one group show different images")
    image = unpatchify(patches[0], work.side, work.side, policy.image_config)
    return prompts, responses, [image] * len(prompts)


def _masked(ids: Tensor, mask: Tensor) -> list[list[int]]:
    return [row[keep.bool()].tolist() for row, keep in zip(ids, mask, strict=True)]


def _same_ids(policy: QwenVL, rows: tuple, work: Work) -> None:
    """What TRL made of the texts is what our encoder makes of them."""
    groups = groups_of(work)
    encoder = Encoder(policy, images_of(work, groups))
    for group in groups:
        if encoder.prompt(group, group.image_id) == rows[0][0]:
            expected = encoder.offline(group).responses if group.candidates else rows[1]
            if rows[1] == expected and all(prompt == rows[0][0] for prompt in rows[0]):
                return
    raise ValueError("no group has the ids of TRL's batch")


def _scored_by_trl(trainer: Any, batch: dict[str, Any]) -> list[Tensor]:
    """Per-token log-probabilities of each row from TRL's fused head."""
    if "prompt_ids" in batch:
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        seen = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        names = ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")
        logps, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, seen, batch["completion_ids"].shape[1],
            **{name: batch[name] for name in names},
        )  # fmt: skip
        keep = batch["completion_mask"].bool()
    else:
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
        inputs = {key: value for key, value in batch.items() if key != "completion_mask"}
        logps = trainer.model(**inputs, labels=labels, fused_lm_head=True, use_cache=False)
        logps, keep = logps.log_probs, batch["completion_mask"][:, 1:].bool()
    return [row[kept] for row, kept in zip(logps, keep, strict=True)]


def _grpo(policy: QwenVL, logps: Sequence[Tensor], batch: dict[str, Any], work: Work) -> Tensor:
    mask = batch["completion_mask"].bool()
    reference = [row[kept] for row, kept in zip(batch["ref_per_token_logps"], mask, strict=True)]
    texts = [text_of(policy.tokenizer, ids) for ids in _masked(batch["completion_ids"], mask)]
    rewards = tuple(reward(text) for text in texts)
    group = ScoredGroup("group", "online", ("rollout",) * len(texts), rewards)
    counts = Counts(samples=1, sequences=len(texts), tokens=int(mask.sum()))
    return HybridGRPO(beta=work.beta)(logps, reference, [group], counts).loss


def _dpo(trainer: Any, logps: Sequence[Tensor], batch: dict[str, Any], work: Work) -> Tensor:
    """`-log sigmoid(beta (D_w - D_l))`: what TRL's trainer descends on the same rows.

    Ours descends eq. 7 there, from the same log-probabilities and the same reference.
    """
    model = trainer.ref_model if trainer.ref_model is not None else trainer.model
    reference = trainer.compute_ref_log_probs(model, batch)
    chosen, rejected = (row.sum() - ref[0] for row, ref in zip(logps, reference, strict=True))
    return -logsigmoid(work.beta * (chosen - rejected))


def _compare_gradients(name: str, model: nn.Module, ours: Tensor, theirs: Tensor) -> None:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    mine = torch.autograd.grad(ours, trained)
    other = torch.autograd.grad(theirs, trained)
    scale = max(float(gradient.abs().max()) for gradient in other)
    require_equal(
        f"{name} gradients",
        [gradient / scale for gradient in mine],
        [gradient / scale for gradient in other],
        TOLERANCE,
    )
