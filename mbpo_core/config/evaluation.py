"""What models are measured by: benchmarks, how they are answered, how answers are judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mbpo_core.config.base import Frozen
from mbpo_core.config.judge import Judge
from mbpo_core.evaluation.benchmarks import BENCHMARKS


class EmbeddedBenchmark(Frozen):
    """The questions of the embedded world on one split."""

    kind: Literal["embedded"] = "embedded"
    split: Literal["consistent", "counter"]
    part: Literal["dev", "test"] = "test"
    scenes: int = Field(100, ge=1)
    seed: int = 0
    """Another seed gives other scenes of the same part."""
    blank: bool = False
    """Black images in place of the scenes: what is right then comes from the prior."""

    @property
    def name(self) -> str:
        """Name of the benchmark in tables."""
        return f"embedded/{self.split}{'-blank' if self.blank else ''}"


class HeldOutBenchmark(Frozen):
    """Samples of the recipe's own data that no group uses."""

    kind: Literal["held_out"] = "held_out"
    closed: int = Field(200, ge=0)
    open: int = Field(200, ge=0)

    @property
    def name(self) -> str:
        """Name of the benchmark in tables."""
        return "held_out"


PUBLISHED: tuple[str, ...] = tuple(BENCHMARKS)
JUDGED: tuple[str, ...] = tuple(name for name in BENCHMARKS if BENCHMARKS[name].judged)
"""Those whose answers a model judges."""


class PublishedBenchmark(Frozen):
    """A published benchmark, read from files that the user has."""

    kind: Literal[PUBLISHED]  # type: ignore[valid-type]
    """One of `mbpo_core.evaluation.benchmarks`."""
    questions: tuple[str, ...] = Field(min_length=1)
    """Files, or folders of them: JSON, JSONL, TSV, XLSX, Parquet or text, also with `.gz`."""
    image_root: str | None = None
    """Folder that image names are relative to; default: the folder of the first of `questions`."""
    follow_links: bool = False
    """Whether symbolic links in that folder may lead out of it."""

    @property
    def name(self) -> str:
        """Name of the benchmark in tables."""
        return self.kind


Benchmark = Annotated[
    EmbeddedBenchmark | HeldOutBenchmark | PublishedBenchmark, Field(discriminator="kind")
]


class GivenResponses(Frozen):
    """Answers that somebody else produced: a file in place of a model."""

    path: str
    """JSON, JSONL, TSV, XLSX or Parquet, also with `.gz`."""
    name: str = "responses"
    """What the model is called in tables."""
    partial: bool = False
    """Score what fits together; otherwise a question without an answer, or an answer without a
    question, is an error."""
    in_order: bool = False
    """The answers name no more than the question's text and stand in the order of the questions."""


class AnswerConfig(Frozen):
    """Greedy answers of the base and of the trained model, and the gain of the gold answers."""

    models: tuple[Literal["base", "trained"], ...] = ("base", "trained")
    responses: GivenResponses | None = None
    """A file instead of the models."""
    policy_name: str = "base"
    """What the policy is called in tables."""
    max_new_tokens: int | None = Field(None, ge=1)
    """Length limit of every answer; `None` = each benchmark's own."""
    batch_tokens: int = Field(16_384, ge=1)
    shard_rows: int = Field(256, ge=1)


class EvaluateConfig(Frozen):
    """Which questions are asked, and how the figures are made."""

    benchmarks: tuple[Benchmark, ...] = (HeldOutBenchmark(),)
    limit: int | None = Field(None, ge=1)
    """Only the first questions of each benchmark: a pilot."""
    min_pixels: int = Field(4 * 28 * 28, ge=28 * 28)
    max_pixels: int = Field(16_384 * 28 * 28, ge=28 * 28)
    """Of a published benchmark's images: Qwen2-VL's own bounds, which lmms-eval keeps."""
    shard_rows: int = Field(1024, ge=1)
    judge: Judge | None = None
    """Needed by the benchmarks that a model judges."""
    bootstrap: int = Field(2000, ge=100)
    seed: int = 0
