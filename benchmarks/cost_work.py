"""The work of the paper's run, stage by stage: rows, shards, and what a row costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mbpo_core.config import PretrainedModel, Recipe
from tasks.answer import names_of
from tasks.ask import OWN_TOKENS
from tasks.estimate import PIXELS_PER_TOKEN, TEXT_TOKENS, forward_flops, forwards
from tasks.registry import ORDER


@dataclass(frozen=True)
class Assumed:
    """What nobody measured."""

    tflops: float = 200.0
    """Sustained by one GPU in a forward or backward, in TFLOP/s."""
    bandwidth: float = 1.5
    """Read from a GPU's memory while it decodes, in TB/s: every token reads all weights once."""
    efficiency: float = 0.85
    """Of training on several GPUs, against as many alone."""
    load: float = 60.0
    """Seconds until a worker has imported, read its weights and begins, once a stage."""
    disk: float = 1.0
    """Written and forced to the disk by one worker, in GB/s."""
    closed: float = 0.2
    """Share of the records that are closed-ended, and so online prompts."""
    pixels: int = 401_408
    """Of a picture: the recipe's bound."""


@dataclass(frozen=True)
class Work:
    """One stage: its rows in shards, and what a row costs."""

    stage: str
    rows: int
    shards: int
    device: float = 0.0
    """GPU seconds a row."""
    cpu: float = 0.0
    """CPU seconds a row, in turn with the GPU's."""
    bytes: float = 0.0
    """Written a row."""
    overhead: float = 0.0
    """CPU seconds a shard: reading, listing, writing but for the bytes, publishing."""
    ranks: int | None = None
    """GPUs that can share one training step; None = shards are computed side by side."""


@dataclass(frozen=True)
class Costs:
    """What is known, and what is assumed, of a run over `size` records."""

    recipe: Recipe
    size: int
    measured: dict[str, Any]
    """`photos` and `runs` of `benchmarks/size/results.json`; in order of size."""
    assumed: Assumed = Assumed()
    tflops: dict[str, float] = field(default_factory=dict)
    """Measured on a GPU, by stage; where there is none, `assumed.tflops`."""

    def works(self) -> list[Work]:
        """Return the work of every stage that the measured runs had."""
        made = {work.stage: work for work in (
            self._ingest(), self._score(), self._mine(), self._respond(), self._answer(),
            self._train())}  # fmt: skip
        measured = [stage for stage in ORDER if stage in self._run]
        return [self._with_overhead(made.get(stage) or self._once(stage)) for stage in measured]

    @property
    def hashed(self) -> float:
        """Bytes that one core hashes a second."""
        return self.measured["photos"]["hashed_bytes_a_cpu_second"]

    def _ingest(self) -> Work:
        rows = self.recipe.ingest.shard_rows
        size = self._bytes_of_picture("stored") + self._text("score")  # a row's text is no longer
        return Work("ingest", self.size, _shards(self.size, rows), 0.0, self._cpu("prepare"), size)

    def _score(self) -> Work:
        shards = _shards(self.size, self.recipe.score.shard_rows)
        device = self._passes("score")
        return Work("score", self.size, shards, device, self._cpu("decode"), self._text("score"))

    def _mine(self) -> Work:
        shards = _shards(self._chosen, self.recipe.mine.shard_rows)
        cpu = 2 * self._cpu("decode") + self._cpu("encode")
        size = self._bytes_of_picture("attacked")
        return Work("mine", self._chosen, shards, self._passes("mine"), cpu, size)

    def _respond(self) -> Work:
        config = self.recipe.respond
        device = self._passes("respond") + self._drawn(config.max_new_tokens, config.batch_tokens)
        return Work("respond", self._chosen, _shards(self._chosen, config.shard_rows), device,
                    2 * self._cpu("decode"), self._text("respond"))  # fmt: skip

    def _answer(self) -> Work:
        rows, models = self._run["answer"]["rows"], len(names_of(self.recipe))
        shards = models * _shards(rows // models, self.recipe.answer.shard_rows)
        device = self._passes("answer") + self._drawn(OWN_TOKENS, self.recipe.answer.batch_tokens)
        return Work("answer", rows, shards, device, self._cpu("decode"), self._text("answer"))

    def _train(self) -> Work:
        """A row is a group: pairs, and prompts with their rollouts.

        A sequence costs a forward of the reference, one of the policy, one more where activations
        are computed again, and two for the backward. The rollouts of a prompt are drawn together,
        from float32 weights.
        """
        config = self.recipe.train
        objective: Any = config.objective
        pairs = self._chosen * config.offline_epochs
        prompts = round(self.size * self.assumed.closed) * config.online_epochs
        sequences = pairs * len(objective.roles) + prompts * objective.generations
        forward = self._seconds("train", self._policy)
        device = sequences * (4 + config.gradient_checkpointing) * forward
        device += prompts * objective.max_new_tokens * self._token_seconds(4)
        groups, size = pairs + prompts, (self._policy.parameters or 0.0) * 4e9
        return Work("train", groups, 1, device / groups, self._cpu("decode"), size / groups,
                    ranks=config.groups_per_step)  # fmt: skip

    def _once(self, stage: str) -> Work:
        """A stage without a model, as it was measured."""
        found = self._run[stage]
        cpu = found["work_cpu_seconds"] / found["rows"]
        return Work(stage, found["rows"], found["shards"], 0.0, cpu, self._text(stage))

    def _with_overhead(self, work: Work) -> Work:
        if work.ranks is not None:
            return work
        found = self._run[work.stage]
        parts = found["read_cpu_seconds_a_shard"] + found["write_cpu_seconds_a_shard"]
        return replace(work, overhead=parts)

    @property
    def _run(self) -> dict[str, Any]:
        return largest(self.measured["runs"])

    @property
    def _policy(self) -> PretrainedModel:
        assert isinstance(self.recipe.policy, PretrainedModel)
        return self.recipe.policy

    @property
    def _chosen(self) -> int:
        return min(self.size, self.recipe.select.k or self.size)

    def _passes(self, stage: str) -> float:
        """GPU seconds of a row's forwards, and of backwards counted as forwards."""
        passes, model = forwards(stage, self.recipe)
        assert model is not None
        return passes * self._seconds(stage, model)

    def _seconds(self, stage: str, model: PretrainedModel) -> float:
        flops = forward_flops(model, self.assumed.pixels)
        assert flops is not None
        return flops / (self.tflops.get(stage, self.assumed.tflops) * 1e12)

    def _drawn(self, tokens: int, budget: int) -> float:
        """GPU seconds of one response among those that a pack draws together."""
        length = self.assumed.pixels / PIXELS_PER_TOKEN + TEXT_TOKENS + tokens
        return tokens * self._token_seconds(2) / max(1, int(budget // length))

    def _token_seconds(self, weight_bytes: int) -> float:
        size = (self._policy.parameters or 0.0) * 1e9 * weight_bytes
        return size / (self.assumed.bandwidth * 1e12)

    def _cpu(self, what: str) -> float:
        found = self.measured["photos"][f"{what}_cpu_seconds_a_megapixel"]
        return found * self.assumed.pixels / 1e6

    def _bytes_of_picture(self, which: str) -> float:
        return self.measured["photos"][f"{which}_bytes_a_pixel"] * self.assumed.pixels

    def _text(self, stage: str) -> float:
        """Bytes of a row without a picture."""
        return self._run[stage]["bytes"] / self._run[stage]["rows"]


def largest(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of each stage from the largest of the runs (in order) that has it."""
    return {stage: found for run in runs for stage, found in run["stages"].items()}


def _shards(rows: int, size: int) -> int:
    return math.ceil(rows / size)
