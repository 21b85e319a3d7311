"""From scored answers to metrics: the benchmark's own figures, and what could not be scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mbpo_core.evaluation.protocol import Answer, Blocks
from mbpo_core.evaluation.statistics import (
    Block,
    Difference,
    Estimate,
    Figure,
    block,
    differences,
    estimates,
    quotient,
)


@dataclass(frozen=True)
class Metric:
    """One figure of one model on one benchmark."""

    model: str
    benchmark: str
    kind: str
    """Question kind, or `all`."""
    metric: str
    estimate: Estimate
    better: int
    """1: more is better; -1: less is better; 0: neither."""


@dataclass(frozen=True)
class Comparison:
    """One figure of two models on the questions that both answered."""

    benchmark: str
    kind: str
    metric: str
    difference: Difference
    better: int


def metrics(answers: Sequence[Answer], blocks: Blocks, *, draws: int, seed: int) -> list[Metric]:
    """Return all figures of one model's answers to one benchmark, then the counted failures.

    Args:
        answers: one for every question, those without a score too.
        blocks: the benchmark's figures.
        draws, seed: of the bootstrap.
    """
    if not answers:
        return []
    scored = [answer for answer in answers if answer.score.reason is None]
    first = answers[0]
    return [
        Metric(first.model, first.benchmark, each.kind, figure.metric, estimate, figure.better)
        for each in [*(blocks(scored) if scored else []), failures(answers)]
        for figure, estimate in estimates(each, draws=draws, seed=seed)
    ]


def failures(answers: Sequence[Answer]) -> Block:
    """Return the shares of answers that are `unanswered` (there is none), `unjudged` (the judge
    gave no verdict), `empty`, `unparsed` (no verdict could be read; scored as the official script
    does) or `unfinished` (cut at the length limit), each of all questions.
    """
    rows = [
        (
            a.score.reason is not None and not _unjudged(a),
            _unjudged(a),
            a.score.reason is None and not a.response.strip(),
            a.score.reason is None and a.score.rule is not None and a.score.extracted is None,
            a.finished is False,
            1,
        )
        for a in answers
    ]
    figures = [Figure(name, quotient(place, len(FAILURES)), better=-1, wilson=True)
               for place, name in enumerate(FAILURES)]  # fmt: skip
    return block("all", [answer.unit for answer in answers], rows, figures)


FAILURES = ("unanswered", "unjudged", "empty", "unparsed", "unfinished")


def _unjudged(answer: Answer) -> bool:
    return (answer.score.reason or "").startswith("unjudged")


def compare(
    a: Sequence[Answer], b: Sequence[Answer], blocks: Blocks, *, draws: int, seed: int
) -> list[Comparison]:
    """Return the figures of b minus those of a, on the questions that both have a score for.

    Figures that are defined for one of them alone are left out.
    """
    common = {x.question_id for x in a if x.score.reason is None}
    common &= {x.question_id for x in b if x.score.reason is None}
    if not common:
        return []
    of_a, of_b = (
        {(each.kind, each.figures[0].metric): each
         for each in blocks([x for x in sorted(those, key=lambda x: x.question_id)
                             if x.question_id in common])}
        for those in (a, b)
    )  # fmt: skip
    return [
        Comparison(a[0].benchmark, each.kind, figure.metric, difference, figure.better)
        for name, each in of_a.items()
        if name in of_b and sorted(each.units) == sorted(of_b[name].units)
        for figure, difference in differences(each, of_b[name], draws=draws, seed=seed)
    ]
