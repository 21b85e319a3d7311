"""LLaVA-Bench, In-the-Wild (Liu et al. 2023): a judge scores a reference answer and the model's.

Prompt and reading are those of LLaVA's `eval_gpt_review_bench.py`, figures those of its
`summarize_gpt_review.py`. The first line of a review must be two numbers with one space or comma
between them ("8, 9" is none); anything else counts as -1 for both, and those are averaged in, as
officially; `Score.extracted` is None then. Figures are on the scripts' scale: 100 times the mean of
the model over that of the reference, both rounded to 3 decimals first, the quotient to 1.

Differs from the script: the numbers "nan" and "inf" count as -1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mbpo_core.evaluation.join import Record, same_image, same_text
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
from mbpo_core.evaluation.statistics import Block, Figure, Sums, block, divide, rounded
from mbpo_core.evaluation.stored_reviews import (
    grades_of,
    is_own,
    named,
    own,
    records_of,
)

CATEGORIES = ("conv", "detail", "complex")
KEYS = (("question_id",), ("image", "text"))
SYSTEM = "You are a helpful and precise assistant for checking the quality of the answer."
UNREADABLE = (-1.0, -1.0)
_ROLE = "Assistant"
_REFERENCES = "answers_gpt4"
_PREFIX = "llava_bench_"
_FILES = (
    "llava_bench needs questions.jsonl, context.jsonl and answers_gpt4.jsonl, or rows with "
    "question, caption, gpt_answer and category"
)


@dataclass(frozen=True)
class LLaVABench:
    """The questions, in the order of their file."""

    questions: Sequence[Question]

    def request(self, question: Question, response: str) -> JudgeRequest:
        """Return the official comparison with the reference; temperature 0.2, 1024 tokens."""
        facts = question.facts
        role = facts["role"]
        content = (
            f"[Context]\n{facts['caption']}\n\n[Question]\n{question.text}\n\n"
            f"[{role} 1]\n{question.answer}\n\n[End of {role} 1]\n\n"
            f"[{role} 2]\n{response}\n\n[End of {role} 2]\n\n"
            f"[System]\n{facts['rule']}\n\n"
        )
        messages = ({"role": "system", "content": SYSTEM}, {"role": "user", "content": content})
        return JudgeRequest(messages, temperature=0.2, max_tokens=1024)

    def score(self, question: Question, response: str, review: Review | None = None) -> Score:
        """Read both scores of a review; stored ones come before its text, as in the summary."""
        if review is None:
            return unjudged()
        read = scores(review.text)
        pair = review.grades or read or UNREADABLE
        readable = tuple(pair) != UNREADABLE
        return Score(
            points=pair[1], extracted=f"{pair[0]:g} {pair[1]:g}" if readable else None,
            rule="unreadable" if not readable else "stored" if review.grades else "first_line",
            facts={"reference": pair[0], "model": pair[1]},
        )  # fmt: skip


def scores(review: str) -> tuple[float, float] | None:
    """Return the scores of reference and answer in a review's first line; None: unreadable."""
    words = review.split("\n")[0].replace(",", " ").split(" ")
    try:
        found = [float(word) for word in words]
    except ValueError:
        return None
    return (found[0], found[1]) if len(found) == 2 and all(map(math.isfinite, found)) else None


def load(files: Sequence[SourceFile]) -> LLaVABench:
    """Return the benchmark of its three files, or of a table with all their fields.

    Args:
        files: `questions.jsonl`, `context.jsonl` and `answers_gpt4.jsonl` (the answers of other
            models and reviews, which lie in the same folder, are passed over); or rows of
            lmms-eval's or VLMEvalKit's table; `rule.json` only for other prompts than the official.

    Raises:
        BenchmarkError: a file or field is missing, a category is unknown, a question has no
            caption, or no reference answer or several.
    """
    sources = _Sources()
    for file in files:
        sources.add(file)
    if not sources.asked:
        raise BenchmarkError(_FILES)
    images, references = pictures(sources.asked), sources.references()
    found = [
        _question(record, image, sources, references.get(_name(record)))
        for record, image in zip(sources.asked, images, strict=True)
    ]
    ids = {q.question_id for q in found}
    if len(ids) < len(found):
        raise BenchmarkError("llava_bench: a question stands twice")
    if unknown := references.keys() - ids:
        raise BenchmarkError(f"llava_bench: a reference answers question {min(unknown)}, which is "
                             "none of these questions")  # fmt: skip
    return LLaVABench(tuple(found))


@dataclass
class _Sources:
    """What the files say, told apart by their fields."""

    asked: list[Record] = field(default_factory=list)
    captions: dict[str, Any] = field(default_factory=dict)
    """By image."""
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    """By file and question id."""
    rules: Mapping[str, Any] = field(default_factory=dict)

    def add(self, file: SourceFile) -> None:
        if isinstance(file.content, Mapping):
            self.rules = file.content
            return
        for record in records_of(file):
            if "tuple" in record:
                continue
            if "category" in record and ("image" in record or "caption" in record):
                self.asked.append(record)
            elif "caption" in record and "image" in record:
                self.captions[same_image(record["image"])] = record["caption"]
            elif "question_id" in record and "text" in record:
                answers = self.answers.setdefault(file.name, {})
                if (
                    answers.setdefault(name := str(record["question_id"]), record["text"])
                    != (record["text"])
                ):
                    raise BenchmarkError(f"{file.name}: two answers to question {name}")
            else:
                raise BenchmarkError(
                    f"{file.name}: {_FILES}; a record has {', '.join(map(str, record))}"
                )

    def references(self) -> dict[str, str]:
        """Return the reference answers: the only ones, else those of the file named so."""
        named = [n for n in self.answers if len(self.answers) == 1 or n.startswith(_REFERENCES)]
        if len(named) > 1 or (self.answers and not named):
            raise BenchmarkError(
                f"llava_bench: the reference answers should be in {_REFERENCES}.jsonl, but there "
                f"are {', '.join(self.answers)}"
            )
        return self.answers[named[0]] if named else {}


def _name(record: Record) -> str:
    return str(record.get("question_id", record.get("index", "")))


def _question(
    record: Record, image: str | bytes | None, sources: _Sources, reference: str | None
) -> Question:
    name = _name(record)
    text, kind = record.get("question") or record.get("text"), record["category"]
    if not name or not text or kind not in CATEGORIES:
        raise BenchmarkError(
            f"llava_bench: a question needs question_id, text, image and one of the categories "
            f"{', '.join(CATEGORIES)}, got {name!r}, {text!r} and {kind!r}"
        )
    file = name_of(record, ("image_id", "image_path"))
    caption = record.get("caption", sources.captions.get(same_image(file)))
    gold = record.get("gpt_answer", record.get("gpt4_ans", reference))
    if caption is None or gold is None:
        lacks = "reference answer in answers_gpt4.jsonl" if gold is None else (
            f"caption of {file!r} in context.jsonl"
        )  # fmt: skip
        raise BenchmarkError(f"llava_bench: question {name} has no {lacks}")
    rule = sources.rules.get(_PREFIX + kind, {})
    known = {"image": same_image(file)} if file else {}
    return Question(
        question_id=name, benchmark="llava_bench", text=text, prompt=text, kind=kind, answer=gold,
        unit=same_image(file) or name, image=image or file or None,
        join={"question_id": name, "text": same_text(text)} | known,
        facts={
            "caption": "\n".join(caption) if isinstance(caption, list) else str(caption),
            "rule": rule.get("prompt", prompt_text("llava_bench")),
            "role": rule.get("role", _ROLE),
        },
    )  # fmt: skip


def reviews(questions: Sequence[Question], file: SourceFile) -> dict[str, Review]:
    """Read the official reviews (question_id, category, content, tuple), or our own JSONL.

    Raises:
        BenchmarkError: a review of another question or category, without scores, or two different
            ones of a question.
    """
    if is_own(file):
        return own(questions, file)
    kinds = {q.question_id: q.kind for q in questions}

    def review(record: Record) -> Review:
        where = f"{file.name}, question {record.get('question_id')}"
        pair = grades_of(record.get("tuple", record.get("score", ())), where)
        text = record.get("content", record.get("text"))
        kind = kinds.get(str(record.get("question_id")))
        category = str(record.get("category", kind)).removeprefix(_PREFIX)
        if kind is not None and category != kind:
            raise BenchmarkError(f"{where}: the review is of category {category!r}, the question "
                                 f"of {kind!r}: of another set of questions?")  # fmt: skip
        if len(pair) not in (0, 2) or (not pair and text is None):
            raise BenchmarkError(f"{where}: expected content or a tuple of two scores, got {pair}")
        return Review(str(text or ""), model="", asked_at="", grades=tuple(pair))

    return named(questions, file, (("question_id",),), review, _by_id)


def _by_id(record: Record) -> Join:
    return {"question_id": str(record["question_id"])} if "question_id" in record else {}


def _relative(sums: Sums) -> Sums:
    model, reference = rounded(_mean(1)(sums), 3), rounded(_mean(0)(sums), 3)
    return rounded(divide(model, reference) * 100, 1)


def _mean(term: int) -> Callable[[Sums], Sums]:
    return lambda sums: divide(sums[..., term], sums[..., 2])


FIGURES = (
    Figure("relative_score", _relative),
    Figure("reference_score", lambda s: rounded(rounded(_mean(0)(s), 3) * 10, 1), better=0),
    Figure("model_score", lambda s: rounded(rounded(_mean(1)(s), 3) * 10, 1)),
)


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """Relative score, and the scores of reference and model, of all and of each category."""
    found = [_block("all", answers)]
    for kind in CATEGORIES:
        members = [a for a in answers if a.kind == kind]
        if members:
            found.append(_block(kind, members))
    return found


def _block(kind: str, answers: Sequence[Answer]) -> Block:
    rows = [(a.score.facts["reference"], a.score.facts["model"], 1) for a in answers]
    return block(kind, [a.unit for a in answers], rows, FIGURES)
