"""What the GPU benchmark runs: one batch of score, attack or respond as a call, and training."""

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.rows import drawn_image, made_rows, words
from mbpo_core.grouping import Candidate, Group
from mbpo_core.information_gain import information_gain
from mbpo_core.mining.attack import mine_pgd
from mbpo_core.mining.pgd import PGD
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.objectives.grpo import HybridGRPO
from mbpo_core.responses import RefusalRules, RespondRow, sample_rejected
from mbpo_core.rewards import verify
from mbpo_core.training import TrainingConfig, train
from mbpo_core.training.log import Row

ANYTHING_GOES = RefusalRules(max_repetition=1.0, max_run=10**6)
"""Random weights say anything: nothing is refused, so nothing is drawn twice."""


@dataclass(frozen=True)
class Sizes:
    """How large the work is."""

    side: int = 616
    """Of an image in pixels: 22 x 22 = 484 visual tokens, near the 512 that R1-V trains with."""
    score_batches: tuple[int, ...] = (8, 16, 32, 64)
    """Rows a batch, tried in turn until one does not fit."""
    attack_batches: tuple[int, ...] = (4, 8, 16, 24)
    """Images a batch, likewise."""
    respond_batches: tuple[int, ...] = (16, 64)
    """Rows a batch, likewise."""
    attack_steps: int = 20
    """Of the attack that is reported; batch sizes are tried with 2."""
    new_tokens: int = 128
    """Drawn for a rejected response (random weights hardly ever end one earlier)."""
    rollout_tokens: int = 16
    """Drawn for a rollout: answers to closed questions are short."""
    pairs: int = 8
    """Offline groups of an optimiser step, answers of 100 and 80 tokens."""
    prompts: int = 8
    """Online groups of an optimiser step, G rollouts each."""
    generations: int = 8
    """G."""
    micro_batch_groups: int = 4
    """Groups a forward and backward pass."""
    train_steps: int = 3
    """Optimiser steps; the first is not counted."""
    rounds: int = 3
    """Repetitions of score, of which the median counts; the rest is long enough to run once."""


TINY_SIZES = Sizes(
    side=56, score_batches=(1, 2), attack_batches=(1, 2), respond_batches=(2,), attack_steps=2,
    new_tokens=3, rollout_tokens=2, pairs=1, prompts=1, generations=2, micro_batch_groups=1,
    train_steps=2, rounds=1,
)  # fmt: skip


def scoring(policy: QwenVL, sizes: Sizes, batch: int, turns: int = 1) -> Callable[[], object]:
    """Both passes of the image information gain for `batch` rows."""
    rows = made_rows(policy, images=max(1, batch // turns), turns=turns, side=sizes.side)
    return lambda: information_gain(policy, rows)


def attacking(policy: QwenVL, sizes: Sizes, batch: int, steps: int) -> Callable[[], object]:
    """`mine_pgd` as the pipeline calls it: PNG, re-read and blank scores included."""
    rows = made_rows(policy, images=batch, turns=1, side=sizes.side)
    return lambda: mine_pgd(policy, rows, PGD(steps=steps))


def responding(policy: QwenVL, sizes: Sizes, batch: int) -> Callable[[], object]:
    """Rejected responses, and their scores under three images."""
    rows = [
        RespondRow(
            row.sample_id, row.prompt, "chosen", row.image, drawn_image(10_000 + i, sizes.side)
        )
        for i, row in enumerate(made_rows(policy, images=batch, turns=1, side=sizes.side))
    ]
    return lambda: sample_rejected(
        policy, rows, ANYTHING_GOES, run_seed=0, attempts=1, max_new_tokens=sizes.new_tokens
    )


def train_steps(policy: QwenVL, sizes: Sizes, config: TrainingConfig) -> tuple[list[float], float]:
    """Wall seconds of each optimiser step but the first, and the FLOPs of the first.

    By the pipeline's own `train`: rollouts, reference, forward, backward and update. The run is
    left after its last step: writing a model is not what is measured.
    """
    marks: list[float] = []
    counter = FlopCounterMode(display=False)
    groups, images = _groups(sizes)
    with tempfile.TemporaryDirectory() as folder, suppress(_Enough), ExitStack() as counting:
        counting.enter_context(counter)

        def on_step(row: Row) -> None:
            del row
            counting.close()
            if policy.device.type == "cuda":
                torch.cuda.synchronize(policy.device)
            marks.append(time.perf_counter())
            if len(marks) == sizes.train_steps:
                raise _Enough

        train(policy, groups, images, config, Path(folder) / "run", verify,
              objective=HybridGRPO(), resume=False, on_step=on_step)  # fmt: skip
    return [b - a for a, b in pairwise(marks)], float(counter.get_total_flops())


class _Enough(Exception):
    """All steps that are measured were taken."""


def _groups(sizes: Sizes) -> tuple[list[Group], dict[str, torch.Tensor]]:
    steps = range(sizes.train_steps)
    offline = [f"pair-{step}-{i}" for step in steps for i in range(sizes.pairs)]
    online = [f"prompt-{step}-{i}" for step in steps for i in range(sizes.prompts)]
    images = {name: drawn_image(i, sizes.side) for i, name in enumerate([*offline, *online])}
    groups = [
        Group(name, "offline", name, name, words(i, 20), candidates=_pair(name, i))
        for i, name in enumerate(offline)
    ]
    groups += [
        Group(name, "online", name, name, words(1000 + i, 20), kind="yes_no", answer="yes")
        for i, name in enumerate(online)
    ]
    return groups, images


def _pair(image: str, seed: int) -> Sequence[Candidate]:
    chosen = Candidate("chosen", words(2000 + seed, 99), image)
    return chosen, Candidate("rejected", words(3000 + seed, 79), image, "negative")
