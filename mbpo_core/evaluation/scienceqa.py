"""ScienceQA (Lu et al. 2022, arXiv 2209.09513), as LLaVA's `eval_science_qa.py` scores it.

`accuracy` of `all` is its Accuracy and that of `IMG` its IMG-Accuracy (questions with an image),
both as fractions. Rule: `choice_rules.scienceqa`. Where the files tell subject, grade and hint,
accuracies are given by ScienceQA's own columns too: NAT, SOC, LAN; TXT (with a hint), IMG, NO
(neither); G1-6, G7-12. The script counts a question without an answer as wrong; here answers that
are missing are refused, or left out on demand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mbpo_core.data.messages import BadRecord, conversation, pair_up, text_of
from mbpo_core.data.texts import without_image_token
from mbpo_core.evaluation import choice_rules
from mbpo_core.evaluation.choice_files import (
    LETTER_SUFFIX,
    choice_fields,
    gold_letter,
    hint_of,
    lines,
    numbered,
    options_of,
)
from mbpo_core.evaluation.choices import INDEPENDENT, MultipleChoice, accuracy
from mbpo_core.evaluation.join import Record, same_text
from mbpo_core.evaluation.pictures import pictures
from mbpo_core.evaluation.protocol import Answer, BenchmarkError, Join, Question, SourceFile
from mbpo_core.evaluation.statistics import Block

KEYS = (("question_id",),)
SUBJECTS = {"natural science": "NAT", "social science": "SOC", "language science": "LAN"}
COLUMNS = ("NAT", "SOC", "LAN", "TXT", "IMG", "NO", "G1-6", "G7-12")
_OPTION = re.compile(r"^([A-E])\. (.*)$", re.MULTILINE)


def load(files: Sequence[SourceFile]) -> MultipleChoice:
    """Return the benchmark.

    Args:
        files: LLaVA's `llava_test_CQM-A.json`; or ScienceQA's `problems.json`, with
            `pid_splits.json` for its test split, else all; or both, for subjects and grades of
            LLaVA's questions; or Parquet records (question, choices, answer, hint, image, subject,
            grade), whose ids are their places from 0.

    Raises:
        BenchmarkError: no questions, a record that is none, an answer that is no option.
    """
    problems, split, lists = _sorted(files)
    rows = list(numbered(lists))
    found = []
    images = pictures([record for _, _, record in rows])
    for (file, place, record), image in zip(rows, images, strict=True):
        if "conversations" in record:
            known = problems.get(str(record.get("id")), {})
            found.append(_llava(file, record, image, known))
        else:
            found.append(_problem(file, str(record.get("id", place)), record, image))
    if not lists:
        file = next((f for f in files if f.content is problems), SourceFile("problems.json", {}))
        for number, problem in problems.items():
            if split is None or number in split:
                image = f"{number}/{problem['image']}" if problem.get("image") else None
                found.append(_problem(file, number, problem, image))
    if not found:
        raise BenchmarkError("scienceqa needs llava_test_CQM-A.json or problems.json")
    if len({q.question_id for q in found}) < len(found):
        raise BenchmarkError("scienceqa: an id stands twice")
    return MultipleChoice(tuple(found), choice_rules.scienceqa)


def _sorted(files: Sequence[SourceFile]) -> tuple[Mapping[str, Any], set[str] | None, list]:
    """Return the problems by id, the ids of the test split if told, and the other files."""
    problems: Mapping[str, Any] = {}
    split, lists = None, []
    for file in files:
        if not isinstance(file.content, Mapping):
            lists.append(file)
        elif isinstance(file.content.get("test"), list):
            split = set(map(str, file.content["test"]))
        elif all(isinstance(problem, Mapping) for problem in file.content.values()):
            problems = file.content
        else:
            raise BenchmarkError(f"{file.name} is neither problems.json nor pid_splits.json")
    return problems, split, lists


def _llava(
    file: SourceFile, record: Record, image: str | bytes | None, problem: Mapping[str, Any]
) -> Question:
    try:
        turn = next(pair_up(conversation(record) or []))
        text, answer = without_image_token(text_of(turn.question)), text_of(turn.answer).strip()
    except (BadRecord, StopIteration) as error:
        raise BenchmarkError(f"{file.name}: no conversation: {str(record)[:200]}") from error
    labels = list(_OPTION.finditer(text))
    # The last run of A, B, ... holds the options; a question may itself have lines like them.
    start = max((i for i, label in enumerate(labels) if label[1] == "A"), default=len(labels))
    options = tuple((label[1], label[2]) for label in labels[start:])
    letter = gold_letter(file, {"question": text, "answer": answer}, options)
    return Question(
        question_id=str(record.get("id")), benchmark="scienceqa", kind="test", text=text,
        prompt=text + LETTER_SUFFIX, answer=letter, image=image, options=options,
        closed_kind="multiple_choice", closed_answer=letter,
        join={"question_id": str(record.get("id")), "text": same_text(text)},
        facts={"columns": list(_columns(image, problem, text.startswith("Context: ")))},
    )  # fmt: skip


def _problem(file: SourceFile, number: str, problem: Record, image: str | bytes | None) -> Question:
    options = options_of(problem)
    if len(options) < 2 or not problem.get("question"):
        raise BenchmarkError(f"{file.name}: expected question and choices: {str(problem)[:200]}")
    letter = gold_letter(file, problem, options)
    hint = hint_of(problem)
    context = f"Context: {hint}\n" if hint else ""
    text = f"{context}{problem['question']}\n{lines(options)}"
    return Question(
        question_id=number, benchmark="scienceqa", kind="test", text=text, image=image,
        prompt=text + LETTER_SUFFIX, answer=letter, options=options,
        closed_kind="multiple_choice", closed_answer=letter,
        join={"question_id": number, "text": same_text(text)},
        facts={"columns": list(_columns(image, problem, bool(hint)))},
    )  # fmt: skip


def _columns(image: Any, problem: Mapping[str, Any], hint: bool) -> Iterator[str]:
    """Yield the columns of ScienceQA's table that a question is in."""
    if subject := SUBJECTS.get(str(problem.get("subject"))):
        yield subject
    if hint:
        yield "TXT"
    if image is not None:
        yield "IMG"
    if not hint and image is None:
        yield "NO"
    if grade := re.fullmatch(r"grade(\d+)", str(problem.get("grade"))):
        yield "G1-6" if int(grade[1]) <= 6 else "G7-12"


def fields(record: Record) -> Join:
    """Return the fields of an answer: id, and the text with context and options."""
    found = dict(choice_fields(record))
    if "question" in record and options_of(record) and (hint := hint_of(record)):
        text = f"Context: {hint}\n{record['question']}\n{lines(options_of(record))}"
        found["text"] = same_text(text)
    return found


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """Accuracy of all and by column, as fractions."""
    found = [accuracy("all", answers, INDEPENDENT)]
    for column in COLUMNS:
        members = [a for a in answers if column in a.score.facts["columns"]]
        if members:
            found.append(accuracy(column, members, INDEPENDENT))
    return found
