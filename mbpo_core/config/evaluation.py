"""What the trained model is measured by."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mbpo_core.config.base import Frozen


class EmbeddedBenchmark(Frozen):
    """The questions of the embedded world on one split."""

    kind: Literal["embedded"] = "embedded"
    split: Literal["consistent", "counter"]
    part: Literal["dev", "test"] = "test"
    scenes: int = Field(100, ge=1)
    blank: bool = False
    """Black images in place of the scenes: what is right then comes from the prior."""


class HeldOutBenchmark(Frozen):
    """Samples of the recipe's own data that no group uses."""

    kind: Literal["held_out"] = "held_out"
    closed: int = Field(200, ge=0)
    open: int = Field(200, ge=0)


Benchmark = Annotated[EmbeddedBenchmark | HeldOutBenchmark, Field(discriminator="kind")]


class EvaluateConfig(Frozen):
    """Greedy answers of the base and of the trained model, and the gain of the gold answers."""

    benchmarks: tuple[Benchmark, ...] = (HeldOutBenchmark(),)
    models: tuple[Literal["base", "trained"], ...] = ("base", "trained")
    limit: int | None = Field(None, ge=1)
    max_new_tokens: int = Field(128, ge=1)
    batch_tokens: int = Field(16_384, ge=1)
    shard_rows: int = Field(256, ge=1)
    bootstrap: int = Field(2000, ge=100)
    seed: int = 0
