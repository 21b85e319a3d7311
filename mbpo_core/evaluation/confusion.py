"""Yes and no against the truth: counts of one answer and the figures of their sums."""

from __future__ import annotations

from mbpo_core.evaluation.protocol import Answer
from mbpo_core.evaluation.statistics import Figure, Sums, divide

TERMS = ("tp", "fp", "tn", "fn")


def confusion(answer: Answer) -> tuple[float, float, float, float]:
    """Return true and false positives, true and false negatives of one answer; yes is positive.

    An answer that says neither (`said_yes` is None) counts as wrong: a false negative where yes is
    right, a false positive where no is.
    """
    gold = answer.score.facts["gold"] == "yes"
    right = bool(answer.score.correct)
    return (gold and right, not gold and not right, not gold and right, gold and not right)


def _f1(sums: Sums) -> Sums:
    return divide(2 * sums[..., 0], 2 * sums[..., 0] + sums[..., 1] + sums[..., 3])


FIGURES = (
    Figure("accuracy", lambda s: divide(s[..., 0] + s[..., 2], s.sum(-1))),
    Figure("precision", lambda s: divide(s[..., 0], s[..., 0] + s[..., 1])),
    Figure("recall", lambda s: divide(s[..., 0], s[..., 0] + s[..., 3])),
    Figure("f1", _f1),
    Figure("yes_rate", lambda s: divide(s[..., 0] + s[..., 1], s.sum(-1)), better=0),
)
"""Of sums over `TERMS`. F1 = 2PR / (P + R) = 2TP / (2TP + FP + FN)."""
