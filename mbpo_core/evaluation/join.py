"""Which answer of a file belongs to which question: by content, never by position.

Two sets of POPE questions exist, files are shuffled, cut and concatenated, and ids count something
else in every release. So an answer names its question by fields (an id that the questions know, the
image, the text, the split), and fields that both sides have must agree.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from mbpo_core.evaluation.protocol import BenchmarkError, Join, Question

Record = Mapping[str, Any]
Keys = Sequence[Sequence[str]]
"""Sets of fields that name a question, the best first."""

RESPONSE = (
    "response", "prediction", "model_answer", "model_prediction", "caption", "output",
    "model_output", "filtered_resps", "text", "answer",
)  # fmt: skip
"""Names under which published files keep the answer, the surest first."""
QUESTION_ID = ("question_id", "id", "index")
TEXT = ("prompt", "question", "query")
IMAGE = ("image", "image_id", "image_source", "image_name", "image_path", "filename")
SPLIT = ("split", "category")
SUFFIXES = (
    "answer the question using a single word or phrase.",
    "please answer yes or no.",
    "answer with the option's letter from the given choices directly.",
    "answer with the option's letter from the given choices directly",
)
"""What official scripts put behind a question; no part of its content."""
_SHOWN = 3


@dataclass(frozen=True)
class Joined:
    """Answers by question, and what did not fit together."""

    responses: dict[str, str]
    """By question id."""
    missing: list[str] = field(default_factory=list)
    """Ids of questions without an answer."""
    unknown: list[str] = field(default_factory=list)
    """Places of answers without a question."""
    repeated: int = 0
    """Answers that repeat another one word by word."""


def same_text(text: str) -> str:
    """Return a question as it is compared: case, spaces, `<image>` and known suffixes aside."""
    plain = " ".join(text.replace("<image>", " ").split()).casefold()
    for suffix in SUFFIXES:
        plain = plain.removesuffix(suffix).rstrip()
    return plain


def same_image(image: Any) -> str:
    """Return an image's name as it is compared: without folder and ending, without COCO's zeros."""
    stem = PurePosixPath(str(image).replace("\\", "/")).name
    stem = re.sub(r"\.(?:jpe?g|png|webp|gif|bmp)$", "", stem, flags=re.IGNORECASE)
    return re.sub(r"^(?:COCO_\w+?_)?0*(?=\d+$)", "", stem)


def usual_fields(record: Record) -> Join:
    """Return the fields of an answer under their usual names."""
    found: dict[str, str] = {}
    texts = (*TEXT, "text") if _text_is_question(record) else TEXT
    for name, names, read in (
        ("question_id", QUESTION_ID, str), ("text", texts, same_text), ("image", IMAGE, same_image),
        ("split", SPLIT, str),
    ):  # fmt: skip
        value = next((record[n] for n in names if _present(record.get(n))), None)
        if isinstance(value, str | int) and not isinstance(value, bool):
            found[name] = read(str(value))
    return found


def response_of(record: Record, names: Sequence[str] = RESPONSE) -> str | None:
    """Return the answer that a record holds; None where it holds none."""
    for name in names:
        if name == "text" and _text_is_question(record):
            continue
        value = record.get(name)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, str | int | float | bool):
            return "" if value != value else str(value)  # an empty cell is not a number
        if name in record and value is None:
            return ""
    return None


def _text_is_question(record: Record) -> bool:
    """Whether `text` holds the question: LLaVA's answers keep their own text there."""
    return "text" in record and "answer" in record and not any(name in record for name in TEXT)


def join(
    questions: Sequence[Question],
    records: Sequence[Record],
    keys: Keys,
    *,
    fields: Callable[[Record], Join] = usual_fields,
    response: Callable[[Record], str | None] = response_of,
    partial: bool = False,
    subset: bool = False,
) -> Joined:
    """Give each question its answer.

    A record that names several questions (POPE asks the same in three splits) answers all of them,
    unless two records with different answers do.

    Args:
        questions: with unique ids.
        records: of the file of answers.
        keys: sets of fields that name a question. A record is looked up by the first one of which
            it has every field.
        fields, response: read a record.
        partial: leave out what does not fit, and say so in the result, instead of raising.
        subset: questions without an answer are expected; answers without a question are not.

    Raises:
        BenchmarkError: a record without an answer or without the fields, two different answers to
            one question, a field that contradicts the question's; unless `partial`, answers
            without a question and, unless `subset`, questions without an answer.
    """
    index = {tuple(key): found for key in keys if (found := _index(questions, key))}
    asked: dict[str, list[tuple[str, str]]] = defaultdict(list)
    unknown = []
    for number, record in enumerate(records, start=1):
        text, named = _said(record, number, response), fields(record)
        key = next((k for k in index if all(name in named for name in k)), None)
        if key is None:
            raise BenchmarkError(
                f"answer {number} does not say which question it answers: it has "
                f"{_listed(sorted(named))}, needed are {' or '.join(_listed(k) for k in index)}"
            )
        found = index[key].get(tuple(named[name] for name in key), [])
        if not found:
            unknown.append(f"answer {number} ({_listed(f'{n}={named[n]}' for n in key)})")
        for question in found:
            _agree(question, named, number)
            asked[question.question_id].append((f"answer {number}", text))
    joined = Joined(
        responses=_decided(asked),
        missing=[q.question_id for q in questions if q.question_id not in asked],
        unknown=unknown,
        repeated=sum(len(answers) - 1 for answers in asked.values()),
    )
    if records and not joined.responses:
        raise BenchmarkError(
            f"none of {len(records)} answers belongs to one of {len(questions)} questions: is it "
            f"another benchmark? first: {joined.unknown[0]}"
        )
    if not partial:
        _complete(joined, len(questions), len(records), subset)
    return joined


def _said(record: Any, number: int, response: Callable[[Record], str | None]) -> str:
    if not isinstance(record, Mapping):
        raise BenchmarkError(f"answer {number} is no record: {str(record)[:80]!r}")
    text = response(record)
    if text is None:
        raise BenchmarkError(
            f"answer {number} has none of the fields {', '.join(RESPONSE)}: "
            f"{', '.join(map(str, record))}"
        )
    return text


def _index(questions: Sequence[Question], key: Sequence[str]) -> dict[tuple, list[Question]]:
    found: dict[tuple, list[Question]] = defaultdict(list)
    for question in questions:
        if all(name in question.join for name in key):
            found[tuple(question.join[name] for name in key)].append(question)
    return dict(found)


def _agree(question: Question, named: Join, number: int) -> None:
    for name, value in question.join.items():
        if name in named and name != "question_id" and named[name] != value:
            raise BenchmarkError(
                f"answer {number} is to question {question.question_id}, but its {name} is "
                f"{named[name]!r} where the question has {value!r}: another set of questions?"
            )


def join_in_order(
    questions: Sequence[Question],
    records: Sequence[Record],
    *,
    response: Callable[[Record], str | None] = response_of,
) -> Joined:
    """Give answers that name no more than the question's text to the questions in their order.

    For files as POPE's own script reads them, on explicit demand: every text must be that of the
    question at the same place.

    Raises:
        BenchmarkError: another number of answers, a text that differs, a record without an answer.
    """
    if len(records) != len(questions):
        raise BenchmarkError(f"{len(records)} answers are not in the order of {len(questions)} "
                             "questions")  # fmt: skip
    responses = {}
    for number, (question, record) in enumerate(zip(questions, records, strict=True), start=1):
        text, said = usual_fields(record).get("text"), response(record)
        if text != same_text(question.text) or said is None:
            raise BenchmarkError(
                f"answer {number} is to {text!r}, question {number} is {question.text!r}: the "
                "answers are not in the order of these questions"
            )
        responses[question.question_id] = said
    return Joined(responses)


def _decided(asked: Mapping[str, list[tuple[str, str]]]) -> dict[str, str]:
    responses = {}
    for question_id, answers in asked.items():
        texts = {text for _, text in answers}
        if len(texts) > 1:
            places = _listed(place for place, _ in answers[:_SHOWN])
            raise BenchmarkError(
                f"question {question_id} has {len(answers)} different answers ({places}); if it "
                "is asked in several splits, the answers must name theirs"
            )
        responses[question_id] = texts.pop()
    return responses


def _complete(joined: Joined, questions: int, records: int, subset: bool) -> None:
    problems = []
    if joined.missing and not subset:
        shown = _listed(joined.missing[:_SHOWN])
        problems.append(f"{len(joined.missing)} of {questions} questions have no answer ({shown})")
    if joined.unknown:
        shown = _listed(joined.unknown[:_SHOWN])
        problems.append(f"{len(joined.unknown)} of {records} answers have no question ({shown})")
    if problems:
        raise BenchmarkError(
            f"{'; '.join(problems)}: another set of questions? --partial scores what fits together"
        )


def _listed(words: Any) -> str:
    return ", ".join(map(str, words))


def _present(value: Any) -> bool:
    return value is not None and value != "" and value == value
