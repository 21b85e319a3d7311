"""CHAIR (Rohrbach et al. 2018, arXiv 1809.02156): objects of a caption that the image lacks.

CHAIR_s is the share of captions with at least one such object, CHAIR_i the share of such mentions
among all, repeats counted. Recall is the number of an image's objects that its caption names, over
the number of its objects, both summed over the captions first (Maxlinn's script); length is the
mean number of tokens, punctuation too, pairs as one ("Less is more"'s script, which prints it
divided by 100 and so as a percentage of itself).

Two lemmatisers are about, and the name of the benchmark and the kind of every figure say which:
`chair` takes WordNet's lemmas of tagged words (OPERA, "Less is more", lmms-eval), `chair-pattern`
the singulars of pattern.en (the original script and Maxlinn's). Neither figure is comparable with
Object HalBench, which counts unique objects and leaves captions without objects out.

Differs from the original: no caption metrics (CIDEr, SPICE). Every caption counts, one without
objects too. Shares are fractions; the scripts print percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mbpo_core.evaluation.coco_objects import (
    Vocabulary,
    classic_vocabulary,
    mentions,
    synonyms_of,
)
from mbpo_core.evaluation.coco_truth import Asked, Truth, read_truth
from mbpo_core.evaluation.lemmatisers import Lemmatiser, PatternSingulars, TaggedLemmas
from mbpo_core.evaluation.protocol import (
    Answer,
    BenchmarkError,
    Question,
    Review,
    Score,
    SourceFile,
)
from mbpo_core.evaluation.statistics import Block, Figure, block, quotient

KEYS = (("image",), ("question_id",))
PROMPT = "Please describe this image in detail."
"""Of OPERA, "Less is more" and lmms-eval; the original work had captioning models only."""


@dataclass(frozen=True)
class Chair:
    """Images, their objects, and how the words of a caption are read."""

    questions: Sequence[Question]
    vocabulary: Vocabulary
    lemmatiser: Lemmatiser

    def score(self, question: Question, response: str, review: Review | None = None) -> Score:
        """Find the objects of the caption and those among them that the image lacks."""
        truth = set(question.facts["objects"])
        found = mentions(response, self.vocabulary, self.lemmatiser)
        absent = [node for node in found.nodes if node not in truth]
        return Score(
            points=float(not absent), mentions=len(found.nodes), hallucinated=len(absent),
            extracted=", ".join(found.words) if response.strip() else None,
            rule=self.lemmatiser.name,
            facts={
                "words": found.words, "objects": found.nodes, "hallucinated": absent,
                "covered": sorted(truth & set(found.nodes)), "truth": sorted(truth),
                "length": found.length,
            },
        )  # fmt: skip


def load(files: Sequence[SourceFile], lemmatiser: Lemmatiser | None = None) -> Chair:
    """Return the benchmark of a list of synonyms, the truth, and the questions if there are any.

    Args:
        files: `synonyms.txt`; `coco2014_imid_to_objects.json`, or COCO's `instances_*2014.json`
            and `captions_*2014.json`; a file of questions (image or image_id, text) that says
            which images are asked about, all of the truth otherwise. Questions with a column
            `gt_object` need no other truth.
        lemmatiser: of the captions, and of COCO's own where the truth is built here; None for
            WordNet's lemmas of tagged words.

    Raises:
        BenchmarkError: a file is missing or not what it should be, an image is asked about twice
            in different words, the lemmatiser's data is missing.
    """
    lemmatiser = lemmatiser or TaggedLemmas()
    benchmark = "chair" if lemmatiser.name == TaggedLemmas.name else f"chair-{lemmatiser.name}"
    vocabulary = classic_vocabulary(synonyms_of(files, benchmark, "synonyms.txt"))
    mentions("buses", vocabulary, lemmatiser)  # what it lacks is said before anything is scored
    truth = read_truth(files, benchmark, vocabulary, lemmatiser)
    questions = [_question(asked, truth, benchmark, lemmatiser) for asked in truth.asked]
    if len({q.question_id for q in questions}) < len(questions):
        raise BenchmarkError(f"{benchmark}: an image is asked about twice, in different words")
    return Chair(questions, vocabulary, lemmatiser)


load_pattern = partial(load, lemmatiser=PatternSingulars())
"""`load` with the original script's singulars."""


def _question(asked: Asked, truth: Truth, benchmark: str, lemmatiser: Lemmatiser) -> Question:
    text = asked.text or PROMPT
    join = {"image": asked.image}
    if asked.question_id is not None:
        join["question_id"] = asked.question_id
    return Question(
        question_id=asked.image, benchmark=benchmark, kind=lemmatiser.name, text=text, prompt=text,
        image=asked.picture or truth.names.get(asked.image) or f"{asked.image:0>12}.jpg",
        unit=asked.image, join=join, facts={"objects": sorted(truth.objects[asked.image])},
    )  # fmt: skip


FIGURES = (
    Figure("chair_s", quotient(1, 0), better=-1),
    Figure("chair_i", quotient(3, 2), better=-1),
    Figure("recall", quotient(4, 5)),
    Figure("length", quotient(6, 0), better=0),
)
"""Of sums over `_terms`."""


def _terms(answer: Answer) -> tuple[float, ...]:
    score = answer.score
    return (
        1, bool(score.hallucinated), score.mentions, score.hallucinated,
        len(score.facts["covered"]), len(score.facts["truth"]), score.facts["length"],
    )  # fmt: skip


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """CHAIR_s, CHAIR_i, recall and length, under the lemmatiser's name."""
    found = []
    for kind in dict.fromkeys(a.kind for a in answers):
        members = [a for a in answers if a.kind == kind]
        rows = [_terms(a) for a in members]
        found.append(block(kind, [a.unit for a in members], rows, FIGURES))
    return found
