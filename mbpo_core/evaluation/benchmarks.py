"""The benchmarks by name: what each loads, how answers find their questions, what is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mbpo_core.evaluation import (
    ai2d,
    amber_discriminative,
    hallusion_bench,
    hallusion_figures,
    mmbench,
    mme,
    mmstar,
    multiple_choice,
    pope,
    scienceqa,
)
from mbpo_core.evaluation.choice_files import choice_fields
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
    "ai2d": Definition(
        what="AI2D: multiple choice about diagrams, by lmms-eval's rule",
        files="records of lmms-eval's Parquet, or AI2D_TEST.tsv",
        load=ai2d.load, blocks=ai2d.blocks, keys=ai2d.KEYS, fields=choice_fields,
    ),
    "mmstar": Definition(
        what="MMStar: accuracy (official, micro) and average_l2 (lmms-eval's macro of 18 axes)",
        files="records of MMStar's Parquet or TSV",
        load=mmstar.load, blocks=mmstar.blocks, keys=mmstar.KEYS, fields=mmstar.fields,
    ),
    "mmbench": Definition(
        what="MMBench: circular accuracy (all rotations right), vanilla accuracy",
        files="MMBench_DEV_EN.tsv or another split with answers, or lmms-eval's Parquet records",
        load=mmbench.load, blocks=mmbench.blocks, keys=mmbench.KEYS, fields=mmbench.fields,
    ),
    "scienceqa": Definition(
        what="ScienceQA: accuracy, and that of questions with an image (IMG), by LLaVA's rule",
        files="llava_test_CQM-A.json; or problems.json and pid_splits.json; or Parquet records",
        load=scienceqa.load, blocks=scienceqa.blocks, keys=scienceqa.KEYS,
        fields=scienceqa.fields,
    ),
    "multiple_choice": Definition(
        what="any multiple choice in LLaVA's manner, read by the project's own rules",
        files="records with a conversation, or with question, options and answer",
        load=multiple_choice.load, blocks=multiple_choice.blocks, keys=multiple_choice.KEYS,
        fields=multiple_choice.fields,
    ),
}  # fmt: skip
