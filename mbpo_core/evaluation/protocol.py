"""What a benchmark is: questions, a score for each answer, and figures over scored answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mbpo_core.evaluation.statistics import Block
from mbpo_core.records import Options

Join = Mapping[str, str]
"""What tells a question apart by content, as `{"image": ..., "text": ..., "split": ...}`."""


@dataclass(frozen=True)
class Question:
    """One question of a benchmark."""

    question_id: str
    """Unique within the benchmark, and the same in every release that holds the question."""
    benchmark: str
    """Benchmark and variant, as `pope` or `embedded/counter`."""
    kind: str
    """Category, split or question kind; figures are given for each."""
    text: str
    """As the benchmark's file has it."""
    prompt: str
    """What a model is asked: the text and what the official script puts around it."""
    answer: str = ""
    """Gold answer in full; "" where there is none. Its information gain is measured."""
    image: str | bytes | None = None
    """A path relative to the image folder, or the bytes of an image file; None: asked without."""
    unit: str = ""
    """Questions of one unit (mostly: of one image) are resampled together; "" = the question."""
    max_new_tokens: int | None = None
    """Length limit of an answer, where it is not that of the whole benchmark."""
    closed_kind: str | None = None
    """`multiple_choice` or `yes_no` where the verifier decides."""
    closed_answer: str | None = None
    options: Options = ()
    """Letters and texts of a multiple choice."""
    join: Join = field(default_factory=dict)
    """Fields by which answers in a file find their question (`mbpo_core.evaluation.join`)."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the benchmark's own scorer needs."""


@dataclass(frozen=True)
class Score:
    """What an answer is worth; a figure that does not apply is None."""

    correct: bool | None = None
    points: float | None = None
    """The answer's worth as one number, more is better: 1 or 0, a judge's rating, ..."""
    extracted: str | None = None
    rule: str | None = None
    """How `extracted` was read."""
    said_yes: bool | None = None
    mentions: int | None = None
    """Object mentions of a caption."""
    hallucinated: int | None = None
    """Mentions that the picture does not bear out."""
    reason: str | None = None
    """Why there is no score, as `unjudged:timeout`. The answer is in no figure but is counted."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the benchmark's figures need besides; JSON values."""


@dataclass(frozen=True)
class Review:
    """What a judge said of an answer, as it said it."""

    text: str
    model: str
    """Model as the endpoint names it; "" where stored output does not say."""
    asked_at: str
    """UTC time in ISO format; "" where stored output does not say."""
    grades: tuple[float, ...] = ()
    """Numbers that stored output keeps beside the text, which the official summary reads instead of
    it: one a run (MM-Vet), reference and answer (LLaVA-Bench)."""


@dataclass(frozen=True)
class JudgeRequest:
    """What a judge is asked about one answer: the body of a chat completion but for the model."""

    messages: tuple[Mapping[str, str], ...]
    """`{"role": ..., "content": ...}`."""
    temperature: float = 0.0
    max_tokens: int | None = None


@dataclass(frozen=True)
class Answer:
    """One scored answer of one model: all that figures are computed from."""

    model: str
    benchmark: str
    question_id: str
    kind: str
    unit: str
    response: str
    score: Score
    iig_mean: float | None = None
    """Image information gain of the gold answer, nats a token (eq. 4)."""
    finished: bool | None = None
    """Whether it ended before the length limit; None where that is not known."""


class Benchmark(Protocol):
    """Questions of one benchmark, and how an answer to one of them is scored."""

    @property
    def questions(self) -> Sequence[Question]:
        """All questions, in the order of the file."""

    def score(self, question: Question, response: str, review: Review | None = None) -> Score:
        """Score an answer as the official script does. Never raises on a response or review."""


class JudgedBenchmark(Benchmark, Protocol):
    """A benchmark whose answers a model judges."""

    def request(self, question: Question, response: str) -> JudgeRequest | None:
        """Return what the judge is asked; None where the answer needs no judge."""


Blocks = Callable[[Sequence[Answer]], list[Block]]
"""Figures of one model's answers to one benchmark, those without a `reason`."""


@dataclass(frozen=True)
class SourceFile:
    """A file of a benchmark as it was read; nothing here opens files."""

    name: str
    """Base name without `.gz`."""
    content: Any
    """Records of JSON lines, TSV, XLSX and Parquet; the value of JSON; the text of any other."""


class BenchmarkError(ValueError):
    """Files that do not make the benchmark; the message says what is missing and from where."""
