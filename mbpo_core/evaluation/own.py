"""Scores and figures that the benchmarks of this project share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mbpo_core.evaluation.protocol import Answer, Question, Score
from mbpo_core.evaluation.statistics import Block, Figure, block, quotient
from mbpo_core.rewards import verify


def verified(question: Question, response: str) -> Score:
    """Score an answer to a closed-ended question by the verifier of the online reward."""
    verdict = verify(response, question.closed_kind, question.closed_answer, question.options)
    said_yes = verdict.extracted == "yes" if question.closed_kind == "yes_no" else None
    return Score(
        verdict.reward == 1.0, verdict.reward, verdict.extracted, verdict.rule, said_yes
    )  # fmt: skip


def own_blocks(answers: Sequence[Answer]) -> list[Block]:
    """Accuracy, yes-rate, CHAIR_i, CHAIR_s and mean gain, for each kind and for all.

    CHAIR_i = hallucinated mentions / all mentions over the whole set (Rohrbach et al. 2018), no
    mean of ratios; CHAIR_s = captions with a hallucinated mention / captions. Only figures that
    apply to some answer are returned.
    """
    kinds = sorted({answer.kind for answer in answers})
    members = [(kind, [a for a in answers if a.kind == kind]) for kind in kinds]
    return [
        found for kind, those in [*members, ("all", list(answers))] for found in _of(kind, those)
    ]


def _of(kind: str, answers: Sequence[Answer]) -> list[Block]:
    found = []
    for figures, applies, terms in _SETS:
        those = [answer for answer in answers if applies(answer)]
        if those:
            units = [answer.unit for answer in those]
            found.append(block(kind, units, [terms(answer) for answer in those], figures))
    return found


_Set = tuple[
    tuple[Figure, ...], Callable[[Answer], bool], Callable[[Answer], tuple[float, ...]]
]  # fmt: skip
_SHARE = quotient(0, 1)
_SETS: tuple[_Set, ...] = (
    (
        (Figure("accuracy", _SHARE, wilson=True),),
        lambda a: a.score.correct is not None,
        lambda a: (bool(a.score.correct), 1),
    ),
    (
        (Figure("yes_rate", _SHARE, better=0, wilson=True),),
        lambda a: a.score.said_yes is not None,
        lambda a: (bool(a.score.said_yes), 1),
    ),
    (
        (Figure("chair_i", _SHARE, better=-1), Figure("chair_s", quotient(2, 3), -1, True)),
        lambda a: a.score.mentions is not None,
        lambda a: (a.score.hallucinated, a.score.mentions, a.score.hallucinated > 0, 1),
    ),
    (
        (Figure("iig_mean", _SHARE),),
        lambda a: a.iig_mean is not None,
        lambda a: (a.iig_mean, 1),
    ),
)
"""Figures, the answers that they apply to, and what one adds to the sums."""
