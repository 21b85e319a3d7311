"""In place of the models: what depends on no weights is real, what a GPU would do is made up.

Tokeniser, template, image grid, decoding and saving are those of the embedded model. Its forward
passes are not run: log-probabilities follow from ids and pixels by a sum, samples from seeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mbpo_core.grouping import Group, by_id
from mbpo_core.models.loading import load_policy, save_policy
from mbpo_core.models.protocol import Sampled
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.objectives.protocol import Objective
from mbpo_core.training import TrainingConfig, planned_steps
from mbpo_core.training.log import TrainingLog
from mbpo_core.training.plan import readable
from mbpo_core.training.run import TrainResult
from tasks.models import EMBEDDED

MAX_LENGTH = 32_768
SHORTEST, LONGEST = 40, 120
"""Tokens of a sampled response."""


class StubPolicy(QwenVL):
    """A policy whose forward passes cost nothing; `seconds` counts what they took all the same."""

    seconds: ClassVar[float] = 0.0
    rows: ClassVar[int] = 0
    """Rows scored, attacked for one step, or sampled."""
    row_seconds: ClassVar[float] = 0.0
    """Slept for each of them."""

    def token_logps(
        self,
        prompts: Sequence[list[int]],
        responses: Sequence[list[int]],
        images: Sequence[Tensor],
        *,
        temperature: float = 1.0,
        model: nn.Module | None = None,
    ) -> list[Tensor]:
        """Between -1 and 0 by token, less where the image has less of a fixed pattern."""
        with self._counted(len(prompts)):
            return [
                _values(tuple(ids)) + 0.05 * (_on_pattern(image) - 1)
                for ids, image in zip(responses, images, strict=True)
            ]

    def sample(
        self,
        prompts: Sequence[list[int]],
        images: Sequence[Tensor],
        seeds: Sequence[int],
        *,
        temperature: float,
        top_p: float,
        max_new_tokens: int,
    ) -> list[Sampled]:
        """Words of the template's language, drawn by the seed and the prompt's length."""
        with self._counted(len(prompts)):
            return [
                self._drawn(seed + len(prompt), max_new_tokens)
                for prompt, seed in zip(prompts, seeds, strict=True)
            ]

    def _drawn(self, seed: int, most: int) -> Sampled:
        draw = np.random.default_rng(seed % 2**32)
        words = self._encode("red blue table chair window on the left of a small cup and tree")
        count = min(most, int(draw.integers(SHORTEST, LONGEST + 1))) - 1
        return Sampled([*(int(each) for each in draw.choice(words, count)), self.eos_ids[0]], True)

    @classmethod
    @contextmanager
    def _counted(cls, rows: int) -> Any:
        started = time.perf_counter()
        yield
        if cls.row_seconds:
            time.sleep(rows * cls.row_seconds)
        StubPolicy.rows += rows
        StubPolicy.seconds += time.perf_counter() - started


def _values(ids: tuple[int, ...]) -> Tensor:
    return -(torch.tensor(ids) % 97) / 97


def _on_pattern(image: Tensor) -> Tensor:
    """Return a value that grows with the picture, and whose gradient has a sign a pixel."""
    return (image * _pattern(*image.shape)).sum().tanh()


@lru_cache(maxsize=8)
def _pattern(channels: int, height: int, width: int) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    noise = torch.randint(-8, 9, (channels, height, width), generator=draw)
    return (noise + 1) / (channels * 112 * 112)  # by size: large pictures gain more


@lru_cache(maxsize=1)
def open_stub(*_: Any, **__: Any) -> StubPolicy:
    """Return the one stub of this process, whatever model was asked for."""
    policy = load_policy(str(EMBEDDED), max_length=MAX_LENGTH)
    policy.__class__ = StubPolicy
    return policy  # type: ignore[return-value]


def train_stub(
    policy: QwenVL,
    groups: Sequence[Group],
    images: Mapping[str, Tensor],
    config: TrainingConfig,
    output_dir: Path,
    reward_fn: Callable[..., Any],
    *,
    objective: Objective,
    resume: bool,
    on_step: Callable[[dict[str, Any]], None],
    measure: object,
) -> TrainResult:
    """Read what each step of the plan reads, log a row, and save the model as it was."""
    groups = readable(groups, objective, config)
    index, log = by_id(groups), TrainingLog(output_dir / "log", keep_steps=-1)
    plan = planned_steps(groups, config)
    for step, batch in enumerate(plan, start=1):
        for group in (index[name] for name in batch):
            for image_id in {group.image_id, *(each.image_id for each in group.candidates)}:
                assert images[image_id].dtype == torch.uint8
        log.add("steps", [{"step": step, "loss": 0.0}])
        on_step({"step": step, "loss": 0.0})
    (output_dir / "model").mkdir(exist_ok=True)
    save_policy(policy, output_dir / "model")
    return TrainResult(len(plan), log.tables, output_dir / "model", None)
