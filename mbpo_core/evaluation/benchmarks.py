"""The benchmarks by name: what each loads, how answers find their questions, what is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mbpo_core.evaluation import (
    ai2d,
    amber,
    amber_discriminative,
    amber_generative,
    chair,
    coco_truth,
    hallusion_bench,
    hallusion_figures,
    llava_bench,
    mm_vet,
    mmbench,
    mme,
    mmhal,
    mmstar,
    multiple_choice,
    object_halbench,
    object_halbench_judge,
    pope,
    scienceqa,
)
from mbpo_core.evaluation.choice_files import choice_fields
from mbpo_core.evaluation.join import Keys, Record, response_of, usual_fields
from mbpo_core.evaluation.protocol import Benchmark, BenchmarkError, Blocks, Join, SourceFile
from mbpo_core.evaluation.stored_reviews import Reader, own


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
    max_new_tokens: int = 128
    """Length limit of an answer: lmms-eval's; OPERA's of CHAIR, which depends on it; of MMHal-Bench
    and LLaVA-Bench the official scripts'; of Object HalBench RLAIF-V's (assumed)."""
    table: Callable[[SourceFile], list[Record]] | None = None
    """Reads answers in a text file, where the official script has them so."""
    shown: tuple[str, ...] = ("all",)
    """Kinds whose figures are the benchmark's headline."""
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
        max_new_tokens=1024,
        what="MMHal-Bench: rating 0 to 6 by a judge, share of hallucinating answers",
        files="mmhal-bench_answer_template.json (response_template.json)",
        load=mmhal.load, blocks=mmhal.blocks, keys=mmhal.KEYS, fields=mmhal.fields, judged=True,
        reviews=mmhal.reviews,
    ),
    "mm_vet": Definition(
        max_new_tokens=1024,
        what="MM-Vet: grade 0 to 1 by a judge, in all and by capability; official judge prompt",
        files="mm-vet.json",
        load=mm_vet.load, blocks=mm_vet.blocks, keys=mm_vet.KEYS, fields=mm_vet.fields, judged=True,
        reviews=mm_vet.reviews,
    ),
    "llava_bench": Definition(
        max_new_tokens=1024,
        what="LLaVA-Bench (In-the-Wild): score by a judge relative to a reference answer",
        files="questions.jsonl, context.jsonl, answers_gpt4.jsonl; rule.json for other prompts",
        load=llava_bench.load, blocks=llava_bench.blocks, keys=llava_bench.KEYS, judged=True,
        reviews=llava_bench.reviews,
    ),
    "chair": Definition(
        max_new_tokens=512,
        what="CHAIR with WordNet's lemmas: objects of a caption that the image lacks",
        files=f"synonyms.txt; {coco_truth.FILES}; the questions, if not all images are asked about",
        load=chair.load, blocks=chair.blocks, keys=chair.KEYS, subset=True,
    ),
    "chair-pattern": Definition(
        max_new_tokens=512,
        what="CHAIR with the singulars of pattern.en, as the original script",
        files=f"synonyms.txt; {coco_truth.FILES}; the questions, if not all images are asked about",
        load=chair.load_pattern, blocks=chair.blocks, keys=chair.KEYS, subset=True,
    ),
    "object_halbench": Definition(
        max_new_tokens=1024,
        what="Object HalBench without a judge: objects are words of the caption",
        files=f"synonyms_refine.txt; {coco_truth.FILES}; obj_halbench_300_with_image.jsonl",
        load=object_halbench.load, blocks=object_halbench.blocks, keys=object_halbench.KEYS,
        subset=True,
    ),
    "object_halbench-judge": Definition(
        max_new_tokens=1024,
        what="Object HalBench: unique objects as a judge lists them, tagged by spaCy",
        files=f"synonyms_refine.txt; {coco_truth.FILES}; obj_halbench_300_with_image.jsonl",
        load=object_halbench_judge.load, blocks=object_halbench.blocks,
        keys=object_halbench.KEYS, judged=True, reviews=own,
    ),
    "object_halbench-judge-nltk": Definition(
        max_new_tokens=1024,
        what="Object HalBench: unique objects as a judge lists them, tagged by NLTK",
        files=f"synonyms_refine.txt; {coco_truth.FILES}; obj_halbench_300_with_image.jsonl",
        load=object_halbench_judge.load_nltk, blocks=object_halbench.blocks,
        keys=object_halbench.KEYS, judged=True, reviews=own,
    ),
    "amber": Definition(
        max_new_tokens=2048,
        what="AMBER, both tasks: their figures and the AMBER score",
        files=f"{amber_generative.FILES}; query_all.json",
        load=amber.load, blocks=amber.blocks, keys=amber.KEYS, subset=True,
    ),
    "amber-generative": Definition(
        max_new_tokens=2048,
        what="AMBER, generative: CHAIR, Cover, Hal and Cog in percent",
        files=f"{amber_generative.FILES}; query_generative.json",
        load=amber_generative.load, blocks=amber_generative.blocks, keys=amber_generative.KEYS,
        subset=True,
    ),
    "mme": Definition(
        max_new_tokens=16,
        what="MME: perception and cognition, two yes/no questions an image; score, acc, acc+",
        files="<category>.txt of eval_tool, or lmms-eval's or VLMEvalKit's records; "
        "llava_mme.jsonl for where the images lie",
        load=mme.load, blocks=mme.blocks, keys=mme.KEYS, fields=mme.fields, table=mme.table,
        shown=("perception", "cognition", "all"),
    ),
    "amber-discriminative": Definition(
        max_new_tokens=16,
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
        reviews=hallusion_bench.reviews,
    ),
    "ai2d": Definition(
        max_new_tokens=16,
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
        max_new_tokens=1024,
        what="MMBench: circular accuracy (all rotations right), vanilla accuracy",
        files="MMBench_DEV_EN.tsv or another split with answers, or lmms-eval's Parquet records",
        load=mmbench.load, blocks=mmbench.blocks, keys=mmbench.KEYS, fields=mmbench.fields,
    ),
    "scienceqa": Definition(
        max_new_tokens=16,
        what="ScienceQA: accuracy, and that of questions with an image (IMG), by LLaVA's rule",
        files="llava_test_CQM-A.json; or problems.json and pid_splits.json; or Parquet records",
        load=scienceqa.load, blocks=scienceqa.blocks, keys=scienceqa.KEYS,
        fields=scienceqa.fields,
    ),
    "multiple_choice": Definition(
        max_new_tokens=16,
        what="any multiple choice in LLaVA's manner, read by the project's own rules",
        files="records with a conversation, or with question, options and answer",
        load=multiple_choice.load, blocks=multiple_choice.blocks, keys=multiple_choice.KEYS,
        fields=multiple_choice.fields,
    ),
}  # fmt: skip


def load(name: str, files: Sequence[SourceFile]) -> Benchmark:
    """Return a published benchmark as its files make it.

    Raises:
        BenchmarkError: the files do not make it; the message says what is missing or wrong.
    """
    for file in files:
        if isinstance(file.content, list):
            odd = [each for each in file.content if not isinstance(each, Mapping)]
            if odd:
                raise BenchmarkError(
                    f"{file.name} holds {str(odd[0])[:60]!r} where {name} expects records: "
                    f"{BENCHMARKS[name].files}"
                )
    return BENCHMARKS[name].load(files)
