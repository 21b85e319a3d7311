"""What a benchmark is: questions with images, a score for each answer, and metrics over scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mbpo_core.evaluation.statistics import Estimate, mean, ratio, share


@dataclass(frozen=True)
class Item:
    """One question of a benchmark."""

    question_id: str
    benchmark: str
    """Benchmark and split, as `embedded/counter`."""
    kind: str
    question: str
    answer: str
    """Gold answer in full; its information gain is measured."""
    image_png: bytes
    closed_kind: str | None = None
    """`multiple_choice` or `yes_no` where the verifier decides."""
    closed_answer: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    """Letters and texts of a multiple choice."""
    details: dict[str, Any] = field(default_factory=dict)
    """What the benchmark's own scorer needs."""


@dataclass(frozen=True)
class Score:
    """What an answer is worth; a figure that does not apply is None."""

    correct: bool | None = None
    extracted: str | None = None
    rule: str | None = None
    said_yes: bool | None = None
    mentions: int | None = None
    """Object mentions of a caption."""
    hallucinated: int | None = None
    """Mentions that the picture does not bear out."""


@dataclass(frozen=True)
class Answer:
    """One scored answer of one model."""

    model: str
    item: Item
    response: str
    score: Score
    iig_mean: float | None
    """Image information gain of the gold answer, nats a token (eq. 4)."""


@dataclass(frozen=True)
class Metric:
    """One figure of one model on one benchmark."""

    model: str
    benchmark: str
    kind: str
    """Question kind, or `all`."""
    metric: str
    estimate: Estimate


Scorer = Callable[[Item, str], Score]


def metrics(answers: Sequence[Answer], *, draws: int, seed: int) -> list[Metric]:
    """Accuracy, yes-rate, CHAIR_i, CHAIR_s and mean gain, per model, benchmark and question kind.

    CHAIR_i = hallucinated mentions / all mentions over the whole set (Rohrbach et al. 2018), no
    mean of ratios; CHAIR_s = captions with a hallucinated mention / captions. Only figures that
    apply to some answer are returned.

    Args:
        answers: any mixture of models, benchmarks and kinds.
        draws: resamples of the bootstrap.
        seed: of the bootstrap.
    """
    cells: dict[tuple[str, str, str], list[Answer]] = {}
    for answer in answers:
        for kind in (answer.item.kind, "all"):
            cells.setdefault((answer.model, answer.item.benchmark, kind), []).append(answer)
    return [
        Metric(*cell, name, estimate)
        for cell, members in sorted(cells.items())
        for name, estimate in _figures(members, draws, seed)
    ]


def _figures(answers: Sequence[Answer], draws: int, seed: int) -> list[tuple[str, Estimate]]:
    figures: list[tuple[str, Estimate]] = []
    judged = [a.score.correct for a in answers if a.score.correct is not None]
    if judged:
        figures.append(("accuracy", share(sum(judged), len(judged))))
    polar = [a.score.said_yes for a in answers if a.score.said_yes is not None]
    if polar:
        figures.append(("yes_rate", share(sum(polar), len(polar))))
    captions = [(a.score.hallucinated or 0, a.score.mentions)
                for a in answers if a.score.mentions is not None]  # fmt: skip
    if captions:
        wrong, said = zip(*captions, strict=True)
        figures.append(("chair_i", ratio(wrong, said, draws=draws, seed=seed)))
        figures.append(("chair_s", share(sum(w > 0 for w in wrong), len(wrong))))
    gains = [a.iig_mean for a in answers if a.iig_mean is not None]
    if gains:
        figures.append(("iig_mean", mean(gains, draws=draws, seed=seed)))
    return figures
