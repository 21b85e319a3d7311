"""AMBER's yes/no questions (Wang et al. 2023, arXiv 2311.07397): existence, attribute, relation.

Figures are those of its `inference.py`, in its percent, its order of rounding and with its
constants. **"No" is the positive class**: precision is the share of right ones among the answers
"No", recall the share of questions with truth "no" that are answered so. Every count in a
denominator starts at 0.001 (three times that for attribute, which sums three counters), all
quotients are rounded to 0.1 %, and F1 is that of the rounded precision P and recall R,
2PR / (P + R + e) with e = 0.001 for existence and 0.0001 elsewhere.

The script takes "Yes" and "No" and nothing else for an answer. Here an answer that is neither word
for word is first read by the project's own rule (`mbpo_core.data.answers.extract_yes_no`: first
word, stated verdict, the only one that occurs); what cannot be read is neither, as any other text
is in the script: wrong, and no answer "No". On "Yes" and "No" nothing differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mbpo_core.data.answers import extract_yes_no
from mbpo_core.evaluation.join import Record, same_text
from mbpo_core.evaluation.pictures import picture_name, pictures
from mbpo_core.evaluation.protocol import (
    Answer,
    BenchmarkError,
    Question,
    Review,
    Score,
    SourceFile,
)
from mbpo_core.evaluation.statistics import Block, Figure, Sums, block, rounded

KEYS = (("question_id",), ("image", "text"))
KINDS = {
    "discriminative-hallucination": "existence",
    "discriminative-attribute-state": "state",
    "discriminative-attribute-number": "number",
    "discriminative-attribute-action": "action",
    "discriminative-relation": "relation",
    "relation": "relation",
}
"""Kinds of questions by the types of the annotations."""
ATTRIBUTE = ("state", "number", "action")
SUFFIX = "\nPlease answer yes or no."
"""VLMEvalKit's; the official files hold the bare question."""


@dataclass(frozen=True)
class AmberDiscriminative:
    """Questions with truth `yes` or `no`."""

    questions: Sequence[Question]

    def score(self, question: Question, response: str, review: Review | None = None) -> Score:
        """Read yes or no, word for word or by the project's rule, and compare with the truth."""
        said, rule = read(response)
        right = said == question.answer
        return Score(
            correct=right, points=float(right), extracted=said, rule=rule,
            said_yes=None if said is None else said == "yes", facts={"gold": question.answer},
        )  # fmt: skip


def read(response: str) -> tuple[str | None, str]:
    """Return yes, no or None, and the rule: `exact` is the official one."""
    if response in ("Yes", "No"):
        return response.lower(), "exact"
    return extract_yes_no(response)


def amber_score(chair: float, f1: float) -> float:
    """Return (100 - CHAIR + F1) / 2, of CHAIR of the generative part and F1 of `all`, in percent.

    The paper's AMBER score; the official script does not print it.
    """
    return (100 - chair + f1) / 2


def load(files: Sequence[SourceFile]) -> AmberDiscriminative:
    """Return the benchmark; generative questions in the files are left out, they are another one.

    Args:
        files: `annotations.json` and `query_all.json` (or `query_discriminative*.json`), joined by
            id; or records of VLMEvalKit's `AMBER.tsv` (index, image, question, answer, category).

    Raises:
        BenchmarkError: no questions, questions without annotations, an unknown type, a truth that
            is neither yes nor no, an id that stands twice.
    """
    lists = [(f, r) for f in files if isinstance(f.content, list) for r in f.content]
    records = [(f, r) for f, r in lists if isinstance(r, Mapping)]
    truths = {r["id"]: r for _, r in records if "truth" in r and "id" in r}
    rows = []
    for file, record in records:
        if "query" in record:
            rows.append((file, {**record, **_truth(file, record, truths)}))
        elif "question" in record:
            rows.append((file, {"type": record.get("category"), "truth": record.get("answer"),
                                "query": record["question"], **record}))  # fmt: skip
    rows = [(file, record) for file, record in rows if record["type"] != "generative"]
    images = pictures([record for _, record in rows])
    found = [_question(f, r, image) for (f, r), image in zip(rows, images, strict=True)]
    if not found:
        raise BenchmarkError(
            "amber-discriminative needs annotations.json and query_all.json with discriminative "
            "questions, or AMBER.tsv with index, image, question, answer and category"
        )
    if len({q.question_id for q in found}) < len(found):
        raise BenchmarkError("amber-discriminative: an id stands twice; give one file of questions")
    return AmberDiscriminative(tuple(found))


def _truth(file: SourceFile, record: Record, truths: Mapping[Any, Record]) -> Record:
    if record.get("id") not in truths:
        raise BenchmarkError(
            f"{file.name}: question {record.get('id')} is not in annotations.json, which has "
            f"{len(truths)}"
        )
    truth = truths[record["id"]]
    return {"type": truth.get("type"), "truth": truth["truth"]}


def _question(file: SourceFile, record: Record, picture: str | bytes | None) -> Question:
    number, text = record.get("id", record.get("index")), str(record["query"])
    kind, truth = KINDS.get(str(record["type"])), str(record["truth"]).strip().lower()
    if number is None or kind is None or truth not in ("yes", "no"):
        raise BenchmarkError(
            f"{file.name}: expected a question with an id, a type ({', '.join(KINDS)}) and a truth "
            f"yes or no, got {str({**record, 'image': '...'})[:200]}"
        )
    image = picture_name(record, picture)
    return Question(
        question_id=str(number), benchmark="amber-discriminative", kind=kind, text=text,
        prompt=text + SUFFIX, answer=truth, image=picture, unit=image, closed_kind="yes_no",
        closed_answer=truth,
        join={"question_id": str(number), "image": image, "text": same_text(text)},
    )  # fmt: skip


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """Accuracy, precision, recall and F1 (percent, rounded as the script does) of all and by type.

    `attribute` is state, number and action together. `unread` is the fraction of answers in which
    no yes or no was found.
    """
    groups: dict[str, Sequence[str]] = {
        "all": tuple(dict.fromkeys(KINDS.values())), "existence": ("existence",),
        "attribute": ATTRIBUTE, **{kind: (kind,) for kind in (*ATTRIBUTE, "relation")},
    }  # fmt: skip
    found = []
    for kind, members in groups.items():
        chosen = [a for a in answers if a.kind in members]
        if chosen or kind == "all":
            figures = _figures(
                counter=0.003 if kind == "attribute" else 0.001,
                epsilon=0.001 if kind == "existence" else 0.0001,
            )
            found.append(block(kind, [a.unit for a in chosen], list(map(_terms, chosen)), figures))
    return found


def _terms(answer: Answer) -> tuple[float, ...]:
    said, no = answer.score.said_yes, answer.score.facts["gold"] == "no"
    said_no = said is False
    return (bool(answer.score.correct), 1, said_no and no, said_no, no, said is None)


def _figures(counter: float, epsilon: float) -> tuple[Figure, ...]:
    """Of sums over: right, answers, right "No", said "No", truth "no", unread."""

    def rate(above: int, below: int) -> Callable[[Sums], Sums]:
        return lambda s: rounded(s[..., above] / (s[..., below] + counter) * 100, 1)

    precision, recall = rate(2, 3), rate(2, 4)

    def f1(sums: Sums) -> Sums:
        p, r = precision(sums) / 100, recall(sums) / 100
        return rounded(2 * p * r / (p + r + epsilon) * 100, 1)

    unread = Figure("unread", lambda s: s[..., 5] / s[..., 1], better=-1)
    return (
        Figure("accuracy", rate(0, 1)), Figure("precision", precision), Figure("recall", recall),
        Figure("f1", f1), unread,
    )  # fmt: skip
