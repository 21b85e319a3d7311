"""Benchmarks that training asks every so many steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from mbpo_core.config import Benchmark as BenchmarkConfig
from mbpo_core.config import PublishedBenchmark, Recipe
from mbpo_core.data.images import ImagePolicy
from mbpo_core.evaluation.probe import BenchmarkProbe
from mbpo_core.evaluation.protocol import Question
from mbpo_core.mining.png import decode_png
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.seeds import seed_for
from tasks.ask import FACTOR, answer_tokens, prepared_image
from tasks.benchmark_files import fingerprint_files
from tasks.benchmarks import asked, blocks_of
from tasks.stage import Job

Measure = Callable[[QwenVL], list[dict[str, Any]]]


def fingerprint_benchmarks(recipe: Recipe) -> dict[str, str]:
    """Return the content of the files of the benchmarks that training asks."""
    return {
        f"train.{each.kind}": fingerprint_files(each.questions)
        for each in recipe.train.benchmarks
        if isinstance(each, PublishedBenchmark)
    }


def benchmark_measure(job: Job, policy: QwenVL) -> Measure | None:
    """Return how the policy is measured during training; None where the recipe asks nothing."""
    probes = [_probe(job, policy, each) for each in job.recipe.train.benchmarks]
    if not probes:
        return None
    return lambda policy: [row for probe in probes for row in probe.measure(policy)]


def _probe(job: Job, policy: QwenVL, config: BenchmarkConfig) -> BenchmarkProbe:
    recipe = job.recipe
    benchmark = asked(config, recipe, job.store, job.inputs, images=True)
    drawn = sorted(
        benchmark.questions,
        key=lambda q: seed_for(recipe.seed, q.question_id, "benchmark"),
    )[: recipe.train.benchmark_questions]
    images = ImagePolicy(
        factor=FACTOR, min_pixels=recipe.evaluate.min_pixels,
        max_pixels=recipe.evaluate.max_pixels, max_source_pixels=recipe.ingest.max_source_pixels,
    )  # fmt: skip
    limit = recipe.answer.max_new_tokens or max(map(answer_tokens, drawn), default=1)
    return BenchmarkProbe(
        benchmark=benchmark,
        blocks=blocks_of(config.name),
        questions=drawn,
        images=[_usable(policy, config, q, images, limit) for q in drawn],
        max_new_tokens=limit,
    )


def _usable(
    policy: QwenVL, config: BenchmarkConfig, question: Question, images: ImagePolicy, extra: int
) -> Tensor | None:
    """Return the image, or None where the question cannot be asked."""
    _, png = prepared_image(config, question, images)
    if png is None:
        return None
    image = decode_png(png)
    try:
        prompt = policy.prompt_ids(question.prompt, *image.shape[1:])
    except ValueError:  # it would be read as a special token
        return None
    return image if len(prompt) + extra <= policy.max_length else None
