"""MMHal-Bench (Sun et al. 2023, arXiv 2309.14525): a judge rates an answer from 0 to 6.

Prompt, rating rule and figures are those of LLaVA-RLHF's `Eval/eval_gpt_mmhal.py`, informativeness
is that of RLAIF-V's `eval/summarize_gpt_mmhal_review.py`. A review's rating is the one s in 0..6
for which its lower-cased text holds "rating: s"; a review with none (as "**Rating**: 4") or several
rates 0, with a warning, and `Score.extracted` is None. An answer hallucinates iff its rating is
below 3.

Values are not rounded: the scripts do so in printing only (score and informativeness to 2 decimals,
the rate to 2 or, in RLAIF-V's `eval_gpt_mmhal.py`, to 3).
"""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mbpo_core.evaluation.join import Record, same_image, same_text, usual_fields
from mbpo_core.evaluation.judge import prompt_text, unjudged
from mbpo_core.evaluation.pictures import name_of, pictures
from mbpo_core.evaluation.protocol import (
    Answer,
    BenchmarkError,
    Join,
    JudgeRequest,
    Question,
    Review,
    Score,
    SourceFile,
)
from mbpo_core.evaluation.statistics import Block, Figure, block, divide, quotient
from mbpo_core.evaluation.stored_reviews import (
    completions_in_order,
    is_own,
    named,
    own,
    records_of,
)

logger = logging.getLogger(__name__)

TYPES = (
    "attribute", "adversarial", "comparison", "counting", "relation", "environment", "holistic",
    "other",
)  # fmt: skip
"""In the official order: that of question i is `TYPES[i % 8]`."""
KEYS = (("question_id",), ("image", "text"), ("source", "text"))
QUESTIONS = 96
_ID = re.compile(r"[0-9a-f]{16}")
"""An image id of Open Images."""
_MERGED = "gpt4_review"
"""Field of RLAIF-V's `....merge_gpt4_score.json`, the template with answers and reviews."""
_RATINGS = 7
_FAITHFUL = 3
"""The lowest rating without hallucination."""


@dataclass(frozen=True)
class MMHal:
    """The questions, in the order of their file."""

    questions: Sequence[Question]

    def request(self, question: Question, response: str) -> JudgeRequest:
        """Return the official prompt about an answer; temperature 0, no limit of length."""
        facts = question.facts
        text = prompt_text("mmhal").format(
            facts["contents"], question.text, question.answer, response
        )
        return JudgeRequest(({"role": "user", "content": text},), temperature=0.0)

    def score(self, question: Question, response: str, review: Review | None = None) -> Score:
        """Read the rating of a review; without one, the answer is unjudged."""
        if review is None:
            return unjudged()
        found = ratings(review.text)
        rating = found[0] if len(found) == 1 else 0
        if len(found) != 1:
            logger.warning("mmhal %s: %d ratings in the review, so it rates 0",
                           question.question_id, len(found))  # fmt: skip
        return Score(
            correct=rating >= _FAITHFUL, points=float(rating),
            extracted=str(rating) if len(found) == 1 else None,
            rule={0: "no_rating", 1: "one_rating"}.get(len(found), "several_ratings"),
            facts={"rating": rating},
        )  # fmt: skip


def ratings(review: str) -> list[int]:
    """Return every rating that the official script finds in a review."""
    lowered = review.lower()
    return [rating for rating in range(_RATINGS) if f"rating: {rating}" in lowered]


def load(files: Sequence[SourceFile]) -> MMHal:
    """Return the benchmark of its template file.

    Args:
        files: `mmhal-bench_answer_template.json` (`response_template.json`), or rows with its
            fields and the picture. Rows without `question_type` must be all 96 in official order.

    Raises:
        BenchmarkError: a field is missing, a question stands twice, or a type cannot be told.
    """
    records = [record for file in files for record in records_of(file)]
    images = pictures(records)
    found = [_question(*each) for each in zip(range(len(records)), records, images, strict=True)]
    if not found:
        raise BenchmarkError("mmhal needs mmhal-bench_answer_template.json")
    if len({q.question_id for q in found}) < len(found):
        raise BenchmarkError("mmhal: a question stands twice")
    if any(not r.get("question_type") for r in records) and len(records) != QUESTIONS:
        raise BenchmarkError(
            f"mmhal: without question_type the place tells a question's type, so all {QUESTIONS} "
            f"questions are needed in the official order, got {len(records)}"
        )
    return MMHal(tuple(found))


def _question(place: int, record: Record, image: str | bytes | None) -> Question:
    source, text = name_of(record, ("image_src", "image_path")), record.get("question")
    name, gold = record.get("image_id") or same_image(source), record.get("gt_answer")
    if not text or not name or gold is None or "image_content" not in record:
        raise BenchmarkError(
            f"mmhal question {place + 1} needs image_id (or image_src), image_content, question "
            f"and gt_answer, it has {', '.join(map(str, record))}"
        )
    join = {"question_id": str(name), "image": same_image(name), "text": same_text(text)}
    return Question(
        question_id=str(name), benchmark="mmhal", text=text, prompt=text, answer=gold,
        kind=record.get("question_type") or TYPES[place % len(TYPES)],
        image=image or source.rsplit("/", 1)[-1] or f"{name}.jpg",
        join=join | ({"source": same_image(source)} if source else {}),
        facts={"contents": _contents(record["image_content"])},
    )  # fmt: skip


def _contents(value: Any) -> str:
    """Return the image's contents as the prompt lists them; a cell of a table holds the list."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return value
    return value if isinstance(value, str) else ", ".join(map(str, value or ()))


def fields(record: Record) -> Join:
    """Return what an answer says of its question: the image's id, its file, the text.

    A short number as id counts the answers of its own file, so it names no question.
    """
    found = {name: v for name, v in usual_fields(record).items() if name in ("question_id", "text")}
    number = found.get("question_id", "")
    if number.isdecimal() and not _ID.fullmatch(number):
        del found["question_id"]
    if record.get("image_id"):
        found["image"] = same_image(record["image_id"])
    source = same_image(name_of(record, ("image_src", "image_path", "image_name")))
    if source:
        found.setdefault("image" if _ID.fullmatch(source) else "source", source)
    return found


def reviews(questions: Sequence[Question], file: SourceFile) -> dict[str, Review]:
    """Read stored reviews: the official list, RLAIF-V's merged template, or our own JSONL.

    Raises:
        BenchmarkError: the official list, which has only order, for questions that are not in the
            official order or are more or fewer; reviews of other questions.
    """
    if is_own(file):
        return own(questions, file)
    if any(isinstance(r, Mapping) and _MERGED in r for r in records_of(file)):
        return named(questions, file, KEYS, _merged, fields)
    for place, question in enumerate(questions):
        if question.kind != TYPES[place % len(TYPES)]:
            raise BenchmarkError(
                f"{file.name} names no questions, so they must be in the official order, but "
                f"question {place + 1} is of type {question.kind}, not {TYPES[place % len(TYPES)]}"
            )
    return completions_in_order(questions, file)


def _merged(record: Record) -> Review | None:
    text = record.get(_MERGED)
    return None if text is None else Review(str(text), model="", asked_at="")


FIGURES = (
    Figure("average_score", quotient(0, 3)),
    Figure("hallucination_rate", quotient(1, 3), better=-1, wilson=True),
)
INFORMATIVENESS = Figure("informativeness", lambda s: divide(s[..., 2], s[..., 3]) / 3 * 100)
"""Percent of the 3 steps within the ratings with, and those without hallucination (RLAIF-V)."""


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """Average score and share of hallucinating answers of all and each type; informativeness."""
    found = [_block("all", answers, (*FIGURES, INFORMATIVENESS))]
    for kind in dict.fromkeys((*TYPES, *(a.kind for a in answers))):
        members = [a for a in answers if a.kind == kind]
        if members:
            found.append(_block(kind, members, FIGURES))
    return found


def _block(kind: str, answers: Sequence[Answer], figures: Sequence[Figure]) -> Block:
    given = [a.score.facts["rating"] for a in answers]
    rows = [(r, r < _FAITHFUL, r - 3 if r >= _FAITHFUL else r, 1) for r in given]
    return block(kind, [a.unit for a in answers], rows, figures)
