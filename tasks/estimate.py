"""How long a stage will take and how much it will write, before anything ran.

Measured first: seconds and bytes a row of the latest version with the same models (a pilot, say).
Without one, a count of operations: 2 x parameters x tokens a forward (the vision tower sees four
patches for each token of the language model), a backward to the image costing one more forward
and a backward to the weights two. It leaves out decoding, memory traffic and attention, so read it
as an order of magnitude.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mbpo_core.config import (
    EmbeddedBenchmark,
    EmbeddedSource,
    HeldOutBenchmark,
    Model,
    PGDMiner,
    PretrainedModel,
    Recipe,
)
from mbpo_core.evaluation.protocol import BenchmarkError
from mbpo_core.testbed.questions import QUESTION_KINDS
from mbpo_core.testbed.scenes import IMAGE_SIZE
from storage.manifest import Manifest
from storage.store import ArtifactStore
from tasks.answer import names_of
from tasks.benchmarks import published
from tasks.report.stage import SECTIONS
from tasks.runtime import Runtime
from tasks.sources import SourceError
from tasks.stage import Stage

PIXELS_PER_TOKEN = 28 * 28
TEXT_TOKENS = 200
"""Prompt and response without the image (assumed)."""
PNG_BYTES_PER_PIXEL = 2.1
"""0.7 of the raw size: photographs, and more so attacked ones, hardly compress (assumed)."""
PAGE_BYTES = 10_000_000
"""Of a report with its pictures (the default limit leaves it no more; half is the library)."""
ROW_BYTES = 2000
"""Text and log-probabilities of a row without an image (assumed)."""


@dataclass(frozen=True)
class Estimate:
    """What a stage will cost on one worker; None = not known."""

    seconds: float | None = None
    bytes: int | None = None
    basis: str = "unknown"
    """`measured`, `counted` or `unknown`."""


def estimate(
    store: ArtifactStore, stage: Stage, recipe: Recipe, runtime: Runtime, rows: int | None
) -> Estimate:
    """Return what a stage will cost that has `rows` rows to make (steps to do, for `train`)."""
    if rows is None:
        return Estimate()
    models = stage.model_identities(recipe)
    for _, manifest in reversed(store.refs(stage.name)):
        done = sum(part.rows for part in manifest.table_parts(stage.counted or manifest.artifact))
        done -= sum(shard.get("taken_from_the_store", 0) for shard in manifest.shards)
        if manifest.identity.get("models", {}) == models and done:
            return _scaled(manifest, rows / done)
    flops = _flops(stage.name, recipe)
    size = round(rows * _row_bytes(stage.name, recipe))
    if flops is None:
        return Estimate(None, size, "counted")
    return Estimate(rows * flops / (runtime.tflops * 1e12), size, "counted")


def _scaled(manifest: Manifest, share: float) -> Estimate:
    seconds = sum(shard.get("seconds", 0.0) for shard in manifest.shards)
    return Estimate(seconds * share, round(manifest.bytes * share), "measured")


def _flops(stage: str, recipe: Recipe) -> float | None:
    """Return the operations of one row, None for a stage without a model or of unknown size."""
    passes, model = forwards(stage, recipe)
    one = None if model is None else forward_flops(model, _pixels(recipe))
    return None if one is None else passes * one


def forward_flops(model: PretrainedModel, pixels: int) -> float | None:
    """Return the operations of one forward of one row; None for a model of unknown size."""
    if model.parameters is None or model.vision_parameters is None:
        return None
    image = pixels / PIXELS_PER_TOKEN
    vision = 2e9 * model.vision_parameters * 4 * image
    language = 2e9 * (model.parameters - model.vision_parameters) * (image + TEXT_TOKENS)
    return vision + language


def forwards(stage: str, recipe: Recipe) -> tuple[float, PretrainedModel | None]:
    """Return how many forwards one row costs, and of which model."""
    policy = _pretrained(recipe.policy)
    if stage == "score":  # image and blank of the gain; prompt and answer of the entropy
        gain = "information_gain" in recipe.score.signals
        return 2 * len(recipe.score.signals), _pretrained(recipe.scorer) if gain else policy
    if stage == "mine":  # forward and backward a step; after it last, re-read and blank
        steps = 2 * recipe.mine.steps + 3 if isinstance(recipe.mine, PGDMiner) else 3
        attacked = _pretrained(recipe.attacked or recipe.policy)
        return (steps, attacked) if recipe.mine.makes_images else (0, None)
    if stage == "respond":  # the prompt, then clean, negative and blank
        return 4 * len(recipe.respond.sources), policy
    if stage == "train":  # of each candidate: reference, forward, backward to the weights
        candidates = len(recipe.train.objective.roles)
        return candidates * (1 + 1 + 2) * recipe.train.groups_per_step, policy
    if stage == "answer":
        return 3, policy  # the prompt, then image and blank of the gold answer
    return 0, None


def _pretrained(model: Model) -> PretrainedModel | None:
    return model if isinstance(model, PretrainedModel) else None


def _pixels(recipe: Recipe) -> int:
    """Return the pixels of an image, at most."""
    if isinstance(recipe.ingest.source, EmbeddedSource):
        return IMAGE_SIZE**2
    return recipe.ingest.max_pixels


def _row_bytes(stage: str, recipe: Recipe) -> float:
    if stage in ("ingest", "mine"):
        return ROW_BYTES + _pixels(recipe) * PNG_BYTES_PER_PIXEL
    return PAGE_BYTES / len(SECTIONS) if stage == "report" else ROW_BYTES


def _steps(recipe: Recipe, pairs: int) -> int:
    config = recipe.train
    steps = math.ceil(config.offline_epochs * pairs / config.groups_per_step)
    return steps if config.max_steps is None else min(steps, config.max_steps)


def expected_rows(stage: str, recipe: Recipe, rows: dict[str, int | None]) -> int | None:
    """Return how many rows a stage makes at most, from those before it (`rows`).

    For `train` it is the number of steps over the pairs; how many online prompts join them is not
    known before `ingest`.
    """
    ingested = rows.get("ingest")
    chosen = None if ingested is None else min(ingested, recipe.select.k or ingested)
    sources = len(recipe.respond.sources)
    if stage == "mine":
        return chosen
    if stage == "respond":
        return None if chosen is None else chosen * sources
    if stage == "train":
        return None if chosen is None else _steps(recipe, chosen * max(1, sources))
    if stage == "ask":
        return _questions(recipe)
    if stage in ("answer", "evaluate"):
        asked = rows.get("ask")
        return None if asked is None else asked * len(names_of(recipe))
    return len(SECTIONS) if stage == "report" else ingested


def _questions(recipe: Recipe) -> int | None:
    """Return how many questions the benchmarks ask at most; None if their files cannot be read."""
    total = 0
    for benchmark in recipe.evaluate.benchmarks:
        if isinstance(benchmark, HeldOutBenchmark):
            count = benchmark.closed + benchmark.open
        elif isinstance(benchmark, EmbeddedBenchmark):
            count = benchmark.scenes * len(QUESTION_KINDS)
        else:
            try:
                count = len(published(benchmark).questions)
            except (SourceError, BenchmarkError):
                return None  # `why` says so
        total += min(count, recipe.evaluate.limit or count)
    return total
