"""The benchmarks by name: what each loads, how answers find their questions, what is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mbpo_core.evaluation import (
    amber_generative,
    chair,
    coco_truth,
    llava_bench,
    mm_vet,
    mmhal,
    object_halbench,
    object_halbench_judge,
    pope,
)
from mbpo_core.evaluation.join import Keys, Record, response_of, usual_fields
from mbpo_core.evaluation.protocol import Benchmark, Blocks, Join, SourceFile
from mbpo_core.evaluation.stored_reviews import Reader


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
    reviews: Reader | None = None
    """Reads stored judge output in the benchmark's official formats and in our own."""
    subset: bool = False
    """Its files know more images than are asked about: questions without answer are no error."""


BENCHMARKS: dict[str, Definition] = {
    "pope": Definition(
        what="POPE: object existence, yes or no; F1 per split and their mean",
        files="coco_pope_<split>.json; llava_pope_test.jsonl for LLaVA's answer files",
        load=pope.load, blocks=pope.blocks, keys=pope.KEYS,
    ),
    "mmhal": Definition(
        what="MMHal-Bench: rating 0 to 6 by a judge, share of hallucinating answers",
        files="mmhal-bench_answer_template.json (response_template.json)",
        load=mmhal.load, blocks=mmhal.blocks, keys=mmhal.KEYS, fields=mmhal.fields, judged=True,
        reviews=mmhal.reviews,
    ),
    "mm_vet": Definition(
        what="MM-Vet: grade 0 to 1 by a judge, in all and by capability; official judge prompt",
        files="mm-vet.json",
        load=mm_vet.load, blocks=mm_vet.blocks, keys=mm_vet.KEYS, fields=mm_vet.fields, judged=True,
        reviews=mm_vet.reviews,
    ),
    "llava_bench": Definition(
        what="LLaVA-Bench (In-the-Wild): score by a judge relative to a reference answer",
        files="questions.jsonl, context.jsonl, answers_gpt4.jsonl; rule.json for other prompts",
        load=llava_bench.load, blocks=llava_bench.blocks, keys=llava_bench.KEYS, judged=True,
        reviews=llava_bench.reviews,
    ),
    "chair": Definition(
        what="CHAIR with WordNet's lemmas: objects of a caption that the image lacks",
        files=f"synonyms.txt; {coco_truth.FILES}; the questions, if not all images are asked about",
        load=chair.load, blocks=chair.blocks, keys=chair.KEYS, subset=True,
    ),
    "chair-pattern": Definition(
        what="CHAIR with the singulars of pattern.en, as the original script",
        files=f"synonyms.txt; {coco_truth.FILES}; the questions, if not all images are asked about",
        load=chair.load_pattern, blocks=chair.blocks, keys=chair.KEYS, subset=True,
    ),
    "object_halbench": Definition(
        what="Object HalBench without a judge: objects are words of the caption",
        files=f"synonyms_refine.txt; {coco_truth.FILES}; obj_halbench_300_with_image.jsonl",
        load=object_halbench.load, blocks=object_halbench.blocks, keys=object_halbench.KEYS,
        subset=True,
    ),
    "object_halbench-judge": Definition(
        what="Object HalBench: unique objects as a judge lists them, tagged by spaCy",
        files=f"synonyms_refine.txt; {coco_truth.FILES}; obj_halbench_300_with_image.jsonl",
        load=object_halbench_judge.load, blocks=object_halbench.blocks,
        keys=object_halbench.KEYS, judged=True,
    ),
    "object_halbench-judge-nltk": Definition(
        what="Object HalBench: unique objects as a judge lists them, tagged by NLTK",
        files=f"synonyms_refine.txt; {coco_truth.FILES}; obj_halbench_300_with_image.jsonl",
        load=object_halbench_judge.load_nltk, blocks=object_halbench.blocks,
        keys=object_halbench.KEYS, judged=True,
    ),
    "amber-generative": Definition(
        what="AMBER, generative: CHAIR, Cover, Hal and Cog in percent",
        files=f"{amber_generative.FILES}; query_generative.json",
        load=amber_generative.load, blocks=amber_generative.blocks, keys=amber_generative.KEYS,
        subset=True,
    ),
}  # fmt: skip
