"""The benchmarks by name: what each loads, how answers find their questions, what is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mbpo_core.evaluation import (
    amber_discriminative,
    hallusion_bench,
    hallusion_figures,
    mme,
    pope,
)
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
    "mme": Definition(
        what="MME: perception and cognition, two yes/no questions an image; score, acc, acc+",
        files="<category>.txt of eval_tool, or lmms-eval's or VLMEvalKit's records; "
        "llava_mme.jsonl for where the images lie",
        load=mme.load, blocks=mme.blocks, keys=mme.KEYS, fields=mme.fields,
    ),
    "amber-discriminative": Definition(
        what="AMBER, yes/no: existence, attribute, relation; F1 with No as the positive class",
        files="annotations.json and query_all.json; or VLMEvalKit's AMBER.tsv",
        load=amber_discriminative.load, blocks=amber_discriminative.blocks,
        keys=amber_discriminative.KEYS,
    ),
    "hallusion_bench": Definition(
        what="HallusionBench: aAcc, fAcc, qAcc; yes or no read offline",
        files="HallusionBench.json, or lmms-lab's or VLMEvalKit's records",
        load=hallusion_bench.load, blocks=hallusion_figures.blocks, keys=hallusion_bench.KEYS,
        fields=hallusion_bench.fields,
    ),
    "hallusion_bench-judge": Definition(
        what="HallusionBench: aAcc, fAcc, qAcc; answers compared with the reference by a judge",
        files="HallusionBench.json, or lmms-lab's records",
        load=hallusion_bench.load_judged, blocks=hallusion_figures.blocks,
        keys=hallusion_bench.KEYS, fields=hallusion_bench.fields, judged=True,
    ),
}  # fmt: skip
