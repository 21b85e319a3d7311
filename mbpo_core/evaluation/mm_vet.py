"""MM-Vet (Yu et al. 2023, arXiv 2308.02490): a judge grades an answer from 0.0 to 1.0.

Prompt, grading and figures are those of the official `mm-vet_evaluator.py`. A grade is the first
word of the reply, as a number in [0, 1]. A reply that holds none is asked for again, with a hint
and rising temperature, and the sixth is not read any more: 0.0. Figures are on the script's scale,
100 times the mean grade, rounded to 1 decimal as it rounds; several runs (5 in the paper) are
averaged. Not comparable with lmms-eval and the papers that use it (MBPO), whose prompt lacks a line
and whose judge is another.

Differs from the script: the reply "nan" is no grade (there it would make the total nan).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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
from mbpo_core.evaluation.statistics import Block, Figure, Sums, block, divide
from mbpo_core.evaluation.stored_reviews import grades_of, own

CAPABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")
KEYS = (("question_id",), ("image", "text"))
TEMPERATURES = (0.0, 0.0, 0.5, 1.0, 1.5)
"""Of the replies that are read; from the second on the request carries `HINT`."""
HINT = "\nPredict the correctness of the answer (digit): "
_DECIMALS = 1


@dataclass(frozen=True)
class MMVet:
    """The questions, in the order of their file."""

    questions: Sequence[Question]

    def request(self, question: Question, response: str) -> JudgeRequest:
        """Return the official prompt about an answer; temperature 0, 3 tokens."""
        return self._request(question, response, "", TEMPERATURES[0])

    def again(
        self, question: Question, response: str, reviews: Sequence[Review]
    ) -> JudgeRequest | None:
        """Return what is asked after replies of which the last one holds no grade."""
        if grade(reviews[-1].text) is not None or len(reviews) >= len(TEMPERATURES):
            return None
        return self._request(question, response, HINT, TEMPERATURES[len(reviews)])

    def score(self, question: Question, response: str, review: Review | None = None) -> Score:
        """Read the grade; of stored output with several runs, those of all. No grade: 0.0."""
        if review is None:
            return unjudged()
        grades = review.grades or (grade(review.text) or 0.0,)
        readable = all(grade(reply) is not None for reply in _replies(review))
        return Score(
            points=sum(grades) / len(grades),
            extracted=", ".join(map(str, grades)) if readable else None,
            rule="no_grade" if not readable else "stored" if review.grades else "first_word",
            facts={"grades": list(grades)},
        )  # fmt: skip

    def _request(
        self, question: Question, response: str, hint: str, temperature: float
    ) -> JudgeRequest:
        gold = question.answer.replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
        text = prompt_text("mm_vet") + "\n" + " | ".join([question.text, gold, response, ""]) + hint
        return JudgeRequest(({"role": "user", "content": text},), temperature, max_tokens=3)


def grade(reply: str) -> float | None:
    """Return the grade that a reply begins with; None where it holds none in [0, 1]."""
    try:
        found = float(reply.split(" ")[0].strip())
    except ValueError:
        return None
    return found if 0.0 <= found <= 1.0 else None


def _replies(review: Review) -> list[str]:
    """Return the judge's last reply of each run; none where stored output holds grades alone."""
    if len(review.grades) > 1:
        return review.text.split("\n") if review.text else []
    return [] if review.grades and not review.text else [review.text]


def load(files: Sequence[SourceFile]) -> MMVet:
    """Return the benchmark of `mm-vet.json`, or of rows with its fields and the picture.

    Args:
        files: the questions. A list of ids (`bard_set.json` lies in the same folder) is passed
            over, as by the script unless it is told otherwise.

    Raises:
        BenchmarkError: a field is missing, a question stands twice, a capability is unknown.
    """
    records: list[Record] = []
    for file in files:
        content = file.content
        if isinstance(content, Mapping):
            records += [{"question_id": n, **_mapping(r, file)} for n, r in content.items()]
        elif isinstance(content, list) and all(isinstance(r, Mapping) for r in content):
            records += content
        elif not isinstance(content, list) or not all(isinstance(r, str) for r in content):
            raise BenchmarkError(f"{file.name}: expected the questions of mm-vet.json")
    images = pictures(records)
    found = [_question(*each) for each in zip(records, images, strict=True)]
    if not found:
        raise BenchmarkError("mm_vet needs mm-vet.json")
    if len({q.question_id for q in found}) < len(found):
        raise BenchmarkError("mm_vet: a question stands twice")
    return MMVet(tuple(found))


def _mapping(value: Any, file: SourceFile) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BenchmarkError(f"{file.name}: expected the questions of mm-vet.json, got {value!r}")
    return value


def _question(record: Record, image: str | bytes | None) -> Question:
    name, text = _id(record), record.get("question")
    gold, said = record.get("answer"), record.get("capability", record.get("category"))
    capabilities = said.split(",") if isinstance(said, str) else said
    if not name or not text or gold is None or not capabilities:
        raise BenchmarkError(
            "an MM-Vet question needs question_id, question, answer and capability, it has "
            f"{', '.join(map(str, record))}"
        )
    file = name_of(record, ("imagename",)) or f"{name}.png"
    join = {"question_id": name, "image": same_image(file), "text": same_text(text)}
    return Question(
        question_id=name, benchmark="mm_vet", text=text, prompt=text, answer=str(gold),
        kind=integration(capabilities), unit=join["image"], image=image or file, join=join,
    )  # fmt: skip


def _id(record: Record) -> str:
    """Return the official id; LLaVA's answers and tables hold its number only."""
    name = str(next((record[n] for n in ("question_id", "id", "index") if n in record), ""))
    number = name.removesuffix(".0")
    return f"v1_{number}" if number.isdecimal() else name


def integration(capabilities: Iterable[str]) -> str:
    """Return the name of a set of capabilities, as `rec+know+gen`.

    Raises:
        BenchmarkError: one of them is unknown.
    """
    names = {name.strip() for name in capabilities}
    if unknown := names - {*CAPABILITIES}:
        raise BenchmarkError(f"mm_vet: unknown capability {sorted(unknown)[0]!r}, expected "
                             f"{', '.join(CAPABILITIES)}")  # fmt: skip
    return "+".join(name for name in CAPABILITIES if name in names)


def fields(record: Record) -> Join:
    """Return what an answer says of its question, its id as the benchmark writes it."""
    found = {n: v for n, v in usual_fields(record).items() if n in ("question_id", "text")}
    if "question_id" in found:
        found["question_id"] = _id(record)
    file = name_of(record, ("imagename", "image_name", "image_path"))
    return found | ({"image": same_image(file)} if file else {})


def reviews(questions: Sequence[Question], file: SourceFile) -> dict[str, Review]:
    """Read the official `<model>_<judge>-grade-<n>runs.json`, or our own JSONL.

    Raises:
        BenchmarkError: no such file, another number of runs for one question, a grade outside of
            [0, 1], or grades of an unknown question.
    """
    if not isinstance(file.content, Mapping):
        return own(questions, file)
    known, found = {q.question_id for q in questions}, {}
    for name, record in file.content.items():
        where = f"{file.name}, {name}"
        if not isinstance(record, Mapping) or not record.get("score"):
            raise BenchmarkError(f"{where}: expected model, content and score, got {record!r}")
        grades = grades_of(record["score"], where)
        if not all(0.0 <= g <= 1.0 for g in grades):
            raise BenchmarkError(f"{where}: grades must be in [0, 1], got {grades}")
        if _id({"question_id": name}) in known:
            found[_id({"question_id": name})] = Review(
                text="\n".join(_lines(record.get("content"), len(grades))),
                model=", ".join(dict.fromkeys(map(str, record.get("model") or ()))),
                asked_at="", grades=tuple(grades),
            )  # fmt: skip
    if not found:
        raise BenchmarkError(f"{file.name}: none of its grades is of one of these questions")
    runs = {len(review.grades) for review in found.values()}
    if len(runs) > 1:
        raise BenchmarkError(f"{file.name}: questions were graded {sorted(runs)} times")
    return found


def _lines(content: Any, runs: int) -> list[str]:
    """Return a reply a run, each on one line, so that runs can be told apart in a review."""
    replies = [str(reply) for reply in content or ()]
    return replies if runs == 1 else [" ".join(reply.split("\n")) for reply in replies]


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """Grades of all, of each capability and of each set of capabilities (`integration/...`).

    The kind `rec` holds every question that needs recognition, `integration/rec` those that need
    nothing else. `std` is over the runs, of the total.
    """
    runs = min((len(a.score.facts["grades"]) for a in answers), default=1)
    spread = Figure("std", lambda s: np.round(_runs(s).std(-1), _DECIMALS), better=0)
    found = [_block("all", answers, runs, (SCORE, spread) if runs > 1 else (SCORE,))]
    for name in CAPABILITIES:
        found.append(_block(name, [a for a in answers if name in a.kind.split("+")], runs))
    for kind in sorted({a.kind for a in answers}, key=lambda k: (k.count("+"), k)):
        found.append(_block(f"integration/{kind}", [a for a in answers if a.kind == kind], runs))
    return [b for b in found if len(b.units)]


def _block(
    kind: str, answers: Sequence[Answer], runs: int, figures: Sequence[Figure] = ()
) -> Block:
    rows = [(*a.score.facts["grades"][:runs], 1) for a in answers]
    return block(kind, [a.unit for a in answers], rows, figures or (SCORE,))


def _runs(sums: Sums) -> Sums:
    """Return 100 times the mean grade of each run, `[..., runs]`, of sums of grades and a count."""
    return divide(sums[..., :-1], sums[..., -1:]) * 100


SCORE = Figure("score", lambda sums: np.round(_runs(sums).mean(-1), _DECIMALS))
