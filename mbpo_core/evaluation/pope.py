"""POPE (Li et al. 2023, arXiv 2305.10355): is there a such-and-such in the image?

Rule and figures are those of its `evaluate.py`, which LLaVA's `eval_pope.py` repeats: the first
sentence, commas removed, is no if one of its words is "No", "not" or "no", and yes otherwise, an
empty answer too. Positive class: yes.

Two sets of questions are about (`random` has 2,910 or 3,000 of them), so the answers are joined by
split, image and text; see `mbpo_core.evaluation.join`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mbpo_core.evaluation.confusion import FIGURES, TERMS, confusion
from mbpo_core.evaluation.join import same_image, same_text
from mbpo_core.evaluation.pictures import picture_name, pictures
from mbpo_core.evaluation.protocol import (
    Answer,
    BenchmarkError,
    Question,
    Review,
    Score,
    SourceFile,
)
from mbpo_core.evaluation.statistics import Block, Figure, Sums, block, divide

SPLITS = ("random", "popular", "adversarial")
KEYS = (("question_id",), ("split", "image", "text"), ("image", "text"))
SUFFIX = "\nAnswer the question using a single word or phrase."
"""LLaVA-1.5's and lmms-eval's; the official script prints no prompt."""


@dataclass(frozen=True)
class Pope:
    """The questions of one to three splits."""

    questions: Sequence[Question]

    def score(self, question: Question, response: str, review: Review | None = None) -> Score:
        """Read yes or no by the official rule and compare it with the label."""
        said = said_yes(response)
        right = said == (question.answer == "yes")
        return Score(
            correct=right, points=float(right), extracted="yes" if said else "no", said_yes=said,
            rule="first_sentence", facts={"gold": question.answer},
        )  # fmt: skip


def said_yes(response: str) -> bool:
    """Return what the official script takes an answer for."""
    words = response.split(".")[0].replace(",", "").split(" ")
    return not {"No", "not", "no"} & set(words)


def load(files: Sequence[SourceFile]) -> Pope:
    """Return the benchmark of label files and, where there is one, LLaVA's question file.

    Args:
        files: `coco_pope_<split>.json` (records with image, text, label), or one whose records
            name their split as `category` (lmms-eval's Parquet, VLMEvalKit's TSV);
            `llava_pope_test.jsonl`, for the ids of LLaVA's answers.

    Raises:
        BenchmarkError: no labels, no split, a label that is neither yes nor no, or a question file
            that belongs to another set of labels.
    """
    records = [(f, r) for f in files if isinstance(f.content, list) for r in f.content]
    labelled = [(f, r) for f, r in records if _label(r) is not None]
    if not labelled:
        raise BenchmarkError("pope needs coco_pope_<split>.json with image, text and label")
    images = pictures([record for _, record in labelled])
    found = [_question(f, r, image) for (f, r), image in zip(labelled, images, strict=True)]
    questions = {question.question_id: question for question in found}
    if len(questions) < len(labelled):
        raise BenchmarkError("pope: a question stands twice; give one release of each split")
    for _, record in [(f, r) for f, r in records if _label(r) is None]:
        _name(questions, record)
    return Pope(tuple(questions.values()))


def _label(record: dict[str, Any]) -> str | None:
    return record.get("label", record.get("answer"))


def _question(file: SourceFile, record: dict[str, Any], picture: str | bytes | None) -> Question:
    text, label = record.get("text") or record.get("question"), str(_label(record)).strip().lower()
    name = record.get("image_source") or picture_name(record, picture)
    match = re.search("|".join(SPLITS), str(record.get("category") or file.name))
    if not text or not name or label not in ("yes", "no"):
        shown = {key: str(value)[:60] for key, value in record.items()}
        raise BenchmarkError(f"{file.name}: no POPE question with image, text and label: {shown}")
    if not match:
        raise BenchmarkError(f"{file.name} does not say its split ({', '.join(SPLITS)})")
    join = {"split": match[0], "image": same_image(name), "text": same_text(text)}
    # Of all releases only VLMEvalKit's has ids that tell every question apart.
    index = {"question_id": str(record["index"])} if "index" in record else {}
    return Question(
        question_id="/".join(join.values()), benchmark="pope", kind=match[0], text=text,
        prompt=text + SUFFIX, answer=label, unit=join["image"], join=join | index,
        image=picture or f"{name}.jpg", closed_kind="yes_no", closed_answer=label,
    )  # fmt: skip


def _name(questions: dict[str, Question], record: dict[str, Any]) -> None:
    """Give a question the id that LLaVA's answers call it by."""
    split = str(record.get("category", ""))
    key = "/".join((split, same_image(record.get("image", "")), same_text(record.get("text", ""))))
    if key not in questions:
        raise BenchmarkError(
            f"question {record.get('question_id')} of the question file ({key}) is not in the "
            "label files: they are of another release (`random` has 2,910 questions or 3,000)"
        )
    known = questions[key]
    join = {**known.join, "question_id": str(record["question_id"])}
    questions[key] = replace(known, join=join)


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """Accuracy, precision, recall, F1 and yes-rate of each split and of all; the mean of F1.

    `mean_f1` is the mean over the splits, as LLaVA reports it; `f1` of `all` is over the pooled
    answers, as lmms-eval's.
    """
    found = []
    for split in SPLITS:
        members = [a for a in answers if a.kind == split]
        if members:
            found.append(_block(split, members))
    pooled = _block("all", answers)
    splits = [b.kind for b in found]
    rows = []
    for answer in answers:
        row = np.zeros((len(splits), len(TERMS)))
        row[splits.index(answer.kind)] = confusion(answer)
        rows.append(row.ravel())
    mean = block("all", [a.unit for a in answers], rows, [Figure("mean_f1", _mean_f1)])
    return [*found, pooled, mean]


def _block(kind: str, answers: Sequence[Answer]) -> Block:
    return block(kind, [a.unit for a in answers], [confusion(a) for a in answers], FIGURES)


def _mean_f1(sums: Sums) -> Sums:
    each = sums.reshape(*sums.shape[:-1], -1, len(TERMS))
    tp, fp, _, fn = (each[..., i] for i in range(len(TERMS)))
    return divide(2 * tp, 2 * tp + fp + fn).mean(-1)
