"""Object HalBench (RLHF-V; RLAIF-V's `eval/eval_gpt_obj_halbench.py`), without a judge.

300 images of COCO, each with one of eight requests for a description. Response-level hallucination
(`CHAIRs_refine`, "Response Hall" of the official summary) is the share of captions with an absent
object among those with any object; mention-level (`CHAIRi`, "Object Hall") the share of absent
mentions among all.

This is the script's path without GPT (`gpt_process=False`): mentions are words of the caption,
lemmatised as nouns, repeats counted. With a judge (`object_halbench_judge`) they are unique objects
of a list that the judge makes. On the 500 captions of OPERA's LLaVA-1.5 the words' `CHAIRi` is
0.127 and that of the same words without repeats 0.210; neither is comparable with classic CHAIR,
and the figures keep the official names for that.

Differs from the official script: answers are joined by image and question, not by position, and
files whose name holds "coh" are not cut at their marker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mbpo_core.evaluation.coco_objects import (
    Vocabulary,
    mentions,
    refined_vocabulary,
    synonyms_of,
)
from mbpo_core.evaluation.coco_truth import Asked, Truth, read_truth
from mbpo_core.evaluation.join import same_text
from mbpo_core.evaluation.lemmatisers import Lemmatiser, NounLemmas
from mbpo_core.evaluation.protocol import (
    Answer,
    Question,
    Review,
    Score,
    SourceFile,
)
from mbpo_core.evaluation.statistics import Block, Figure, Sums, block, divide, quotient

KEYS = (("image", "text"), ("image",), ("question_id",))
PROMPT = "Please describe this image in detail."
"""Where no file of questions is given."""
KIND = "words"


@dataclass(frozen=True)
class ObjectHalBench:
    """Images with their objects; mentions are words of the caption."""

    questions: Sequence[Question]
    vocabulary: Vocabulary
    lemmatiser: Lemmatiser

    def score(self, question: Question, response: str, review: Review | None = None) -> Score:
        """Find the objects of the caption and those among them that the image lacks."""
        caption = caption_of(response)
        found = mentions(caption, self.vocabulary, self.lemmatiser)
        return score_of(question, caption, found.words, found.nodes, self.lemmatiser.name)


def caption_of(response: str) -> str:
    """Return what the official script takes for the caption."""
    return response.replace("Assistant:", "").strip()


def score_of(
    question: Question, caption: str, words: Sequence[str], nodes: Sequence[str], rule: str
) -> Score:
    """Return the score of a caption whose words name the given objects."""
    truth = set(question.facts["objects"])
    absent = [node for node in nodes if node not in truth]
    return Score(
        points=float(not absent), mentions=len(nodes), hallucinated=len(absent), rule=rule,
        extracted=", ".join(words) if caption else None,
        facts={
            "words": list(words), "objects": list(nodes), "hallucinated": absent,
            "covered": sorted(truth & set(nodes)), "truth": sorted(truth),
            "length": len(caption.split(" ")),
        },
    )  # fmt: skip


def load(files: Sequence[SourceFile]) -> ObjectHalBench:
    """Return the benchmark of synonyms, the truth, and the questions if there are any.

    Args:
        files: `synonyms_refine.txt`; `coco2014_imid_to_objects.json`, or COCO's
            `instances_*2014.json` and `captions_*2014.json` (then the truth is built as the
            official script does); `obj_halbench_300_with_image.jsonl` (question, image_id, image
            in base64), all images of the truth otherwise.

    Raises:
        BenchmarkError: a file is missing or not what it should be, WordNet is missing.
    """
    name = "object_halbench"
    truth, vocabulary = truth_of(files, name, NounLemmas())
    return ObjectHalBench(questions_of(truth, name, KIND), vocabulary, NounLemmas())


def truth_of(
    files: Sequence[SourceFile], benchmark: str, lemmatiser: Lemmatiser
) -> tuple[Truth, Vocabulary]:
    """Return what is asked and known, and the words for it."""
    vocabulary = refined_vocabulary(synonyms_of(files, benchmark, "synonyms_refine.txt"))
    mentions("buses", vocabulary, lemmatiser)  # what it lacks is said before anything is scored
    return read_truth(files, benchmark, vocabulary, lemmatiser), vocabulary


def questions_of(truth: Truth, benchmark: str, kind: str) -> list[Question]:
    """Return a question for each image that is asked about; the model reads it as it stands."""
    times = Counter(asked.image for asked in truth.asked)
    return [_question(asked, truth, benchmark, kind, times[asked.image] > 1)
            for asked in truth.asked]  # fmt: skip


def _question(asked: Asked, truth: Truth, benchmark: str, kind: str, repeated: bool) -> Question:
    join = {"image": asked.image}
    if asked.text is not None:
        join["text"] = same_text(asked.text)
    if asked.question_id is not None:
        join["question_id"] = asked.question_id
    text = asked.text or PROMPT
    return Question(
        question_id=f"{asked.image}/{same_text(text)}" if repeated else asked.image,
        benchmark=benchmark, kind=kind, text=text, prompt=text, unit=asked.image, join=join,
        image=asked.picture or truth.names.get(asked.image) or f"{asked.image:0>12}.jpg",
        facts={"objects": sorted(truth.objects[asked.image])},
    )  # fmt: skip


def _one_minus(above: int, below: int) -> Callable[[Sums], Sums]:
    return lambda sums: 1 - divide(sums[..., above], sums[..., below])


def _sum(place: int) -> Callable[[Sums], Sums]:
    return lambda sums: sums[..., place]


FIGURES = (
    Figure("CHAIRs", quotient(2, 0), better=-1),
    Figure("CHAIRs_refine", quotient(2, 1), better=-1),
    Figure("CHAIRi", quotient(4, 3), better=-1),
    Figure("obj_rec", quotient(5, 6)),
    Figure("sentence_num", _sum(0), better=0),
    Figure("coco_sentence_num", _sum(1), better=0),
    Figure("coco_word_count", _sum(5), better=0),
    Figure("gt_word_count", _sum(6), better=0),
    Figure("avg_word_len", quotient(7, 0), better=0),
    Figure("correct_rate", _one_minus(2, 1)),
    Figure("object_correct_rate", _one_minus(4, 3)),
)
"""Of sums over `_terms`, under the names of the official output."""


def _terms(answer: Answer) -> tuple[float, ...]:
    score = answer.score
    return (
        1, bool(score.mentions), bool(score.hallucinated), score.mentions, score.hallucinated,
        len(score.facts["covered"]), len(score.facts["truth"]), score.facts["length"],
    )  # fmt: skip


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """The official figures under the kind of the mentions; shares are fractions.

    `coco_word_count` is, as in the official output, the number of true objects that the captions
    name, not of their mentions.
    """
    found = []
    for kind in dict.fromkeys(a.kind for a in answers):
        members = [a for a in answers if a.kind == kind]
        rows = [_terms(a) for a in members]
        found.append(block(kind, [a.unit for a in members], rows, FIGURES))
    return found
