"""The benchmarks by name: what each loads, how answers find their questions, what is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mbpo_core.evaluation import pope
from mbpo_core.evaluation.join import Keys, Record, response_of, usual_fields
from mbpo_core.evaluation.protocol import Benchmark, Blocks, Join, SourceFile


@dataclass(frozen=True)
class Definition:
    """One benchmark that is read from files."""

    what: str
    """One line for the help."""
    files: str
    """Which files it needs, by their published names."""
    load: Callable[[Sequence[SourceFile]], Benchmark]
    blocks: Blocks
    keys: Keys = (("question_id",),)
    fields: Callable[[Record], Join] = usual_fields
    response: Callable[[Record], str | None] = response_of
    judged: bool = False
    """Answers are scored by a model (`JudgedBenchmark`)."""


BENCHMARKS: dict[str, Definition] = {
    "pope": Definition(
        what="POPE: object existence, yes or no; F1 per split and their mean",
        files="coco_pope_<split>.json; llava_pope_test.jsonl for LLaVA's answer files",
        load=pope.load, blocks=pope.blocks, keys=pope.KEYS,
    ),
}  # fmt: skip
