"""How the embedded model gets its eyes, its language, and its prejudice."""

import logging
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Qwen2VLForConditionalGeneration

from mbpo_core.testbed.network import encode_images, to_patches, to_pixels
from mbpo_core.testbed.packing import Packer, Turn, answer_logits
from mbpo_core.testbed.questions import Question, QuestionKind, ask
from mbpo_core.testbed.scenes import COLORS, KINDS, PLACES, Scene, draw, make_scene, seed_of

log = logging.getLogger(__name__)

_COLOR_NAMES = tuple(COLORS)
_SHARPNESS = 10.0  # makes features about as long as the word embeddings


@dataclass(frozen=True)
class Phase:
    """One part of the training."""

    name: str
    """For the log."""
    steps: int
    """Optimiser steps."""
    learning_rate: float
    """Highest learning rate."""
    typical_share: float
    """Share of typical colours; 1/6 is uniform."""
    kinds: dict[QuestionKind, float]
    """Weights with which question kinds are drawn."""
    images: int = 40
    """Images a step."""
    turns: int = 5
    """Questions an image."""
    noise_share: float = 0.0
    """Share of images under Gaussian noise."""
    noise: tuple[float, float] = (0.3, 1.0)
    """Range of the noise's standard deviation, in [0, 1] pixels."""
    verdict_weight: float = 3.0
    """Weight of an answer's first token; the others weigh 1."""
    final_share: float = 0.1
    """Share of the learning rate that is left at the end of the cosine."""
    warmup: int = 50
    """Steps of linear warm-up."""


@dataclass
class Meter:
    """Running shares of right first tokens and of wholly right answers, by question kind."""

    first: dict[str, list[float]] = field(default_factory=dict)
    """Right or wrong, of first tokens."""
    whole: dict[str, list[float]] = field(default_factory=dict)
    """Right or wrong, of answers."""

    def add(self, kinds: list[str], right: Tensor, first: Tensor) -> None:
        """Count one batch: `right` and `first` are bool [N] over answer tokens."""
        turn = first.long().cumsum(0) - 1
        wrong = torch.zeros(len(kinds)).index_add_(0, turn, (~right).float())
        for kind, is_first, n_wrong in zip(kinds, right[first], wrong, strict=True):
            self.first.setdefault(kind, []).append(float(is_first))
            self.whole.setdefault(kind, []).append(float(n_wrong == 0))

    def flush(self) -> dict[str, list[float]]:
        """`{kind: [share of right first tokens, share of right answers]}`, then start anew."""
        shares = {
            kind: [round(sum(v) / len(v), 4) for v in (self.first[kind], self.whole[kind])]
            for kind in sorted(self.first)
        }
        self.first, self.whole = {}, {}
        return shares


def learning_rate(phase: Phase, step: int) -> float:
    """Linear warm-up, then a cosine down to `final_share`."""
    ramp = min(1.0, (step + 1) / phase.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * step / phase.steps))
    return phase.learning_rate * ramp * (phase.final_share + (1 - phase.final_share) * cosine)


def warm_up_vision(
    model: Qwen2VLForConditionalGeneration, packer: Packer, steps: int, seed: int, images: int = 64
) -> Iterator[dict[str, Any]]:
    """Teach the vision tower alone to name what each cell holds: object, colour, place.

    The names are the language model's own (still random, frozen) word embeddings: the feature of a
    cell has to point to the words for it. Without eyes the joint training settles for the prior and
    never learns to look; without the words it takes long to find the cell that a question is about.
    """
    names = [_word_vectors(model, packer, labels) for labels in (KINDS, tuple(COLORS), PLACES)]
    tower = model.model.visual
    optimizer = torch.optim.AdamW(tower.parameters(), lr=2e-3, weight_decay=0.01)
    for step in range(steps):
        first = step * images
        batch = [
            make_scene("base", first + i, seed=seed, typical_share=1 / 6) for i in range(images)
        ]
        features = encode_images(model, to_patches(to_pixels([draw(scene) for scene in batch])))
        losses = [
            F.binary_cross_entropy_with_logits(
                _SHARPNESS * (features @ vectors.T - 0.5 * vectors.square().sum(-1)), label
            )
            for vectors, label in zip(names, _cell_labels(batch), strict=True)
        ]
        optimizer.zero_grad()
        sum(losses).backward()
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        aspects = ("object", "color", "place")
        yield {
            "phase": "vision",
            "step": step + 1,
            **{name: value.item() for name, value in zip(aspects, losses, strict=True)},
        }


def _word_vectors(
    model: Qwen2VLForConditionalGeneration, packer: Packer, labels: tuple[str, ...]
) -> Tensor:
    """The sum of a label's word embeddings, [labels, hidden], without gradient."""
    embedding = model.get_input_embeddings().weight.detach().clone()
    return torch.stack([embedding[packer.encode(f" {label}")].sum(0) for label in labels])


def _cell_labels(batch: list[Scene]) -> tuple[Tensor, Tensor, Tensor]:
    """1 where a cell has the object, colour, place, else 0; [B, 9, labels] each."""
    kinds = torch.zeros(len(batch), len(PLACES), len(KINDS))
    colors = torch.zeros(len(batch), len(PLACES), len(COLORS))
    for b, scene in enumerate(batch):
        for found in scene.objects:
            kinds[b, found.cell, KINDS.index(found.kind)] = 1
            colors[b, found.cell, _COLOR_NAMES.index(found.color)] = 1
    return kinds, colors, torch.eye(len(PLACES)).repeat(len(batch), 1, 1)


def _questions(scene: Scene, phase: Phase, rng: random.Random) -> list[Question]:
    kinds = rng.choices(list(phase.kinds), list(phase.kinds.values()), k=phase.turns)
    return [ask(scene, kind, rng) for kind in kinds]


def _noisy(pixels: Tensor, phase: Phase, generator: torch.Generator) -> Tensor:
    n = len(pixels)
    low, high = phase.noise
    level = low + (high - low) * torch.rand(n, generator=generator)
    level[torch.rand(n, generator=generator) >= phase.noise_share] = 0.0
    noise = torch.randn(pixels.shape, generator=generator)
    return (pixels + level.view(-1, 1, 1, 1) * noise).clamp(0, 1)


def train_phase(
    model: Qwen2VLForConditionalGeneration, packer: Packer, phase: Phase, seed: int
) -> Iterator[dict[str, Any]]:
    """Train all parameters on questions about fresh scenes; yields one record a step.

    A record has `phase`, `step`, `loss` (mean over answer tokens, nats) and, every 50 steps,
    `right`: by kind the shares of right first tokens and of right answers since the last one.
    As no scene repeats, these are measured on unseen scenes.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=phase.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    generator = torch.Generator().manual_seed(seed_of("noise", seed, phase.name) % 2**62)
    meter = Meter()
    model.train()
    for step in range(phase.steps):
        rng = random.Random(seed_of("batch", seed, phase.name, step))
        batch = [
            make_scene("base", rng.getrandbits(40), seed=seed, typical_share=phase.typical_share)
            for _ in range(phase.images)
        ]
        asked = [_questions(scene, phase, rng) for scene in batch]
        pixels = _noisy(to_pixels([draw(scene) for scene in batch]), phase, generator)
        rows = packer.pack([[Turn(q.text, q.answer) for q in row] for row in asked])
        logits, targets = answer_logits(model, rows, encode_images(model, to_patches(pixels)))
        first = rows.first[rows.targets != -100]
        losses = F.cross_entropy(logits, targets, reduction="none")
        weights = 1 + (phase.verdict_weight - 1) * first.float()
        loss = (losses * weights).sum() / weights.sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(phase, step)
        optimizer.step()
        meter.add([q.kind for row in asked for q in row], logits.argmax(-1) == targets, first)
        record = {"phase": phase.name, "step": step + 1, "loss": losses.mean().item()}
        if (step + 1) % 50 == 0:
            record["right"] = meter.flush()
        yield record
