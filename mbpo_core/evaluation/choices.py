"""What multiple-choice benchmarks share: an answer rule, and accuracy by kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mbpo_core.data.answers import Extraction
from mbpo_core.evaluation.protocol import Answer, Question, Review, Score
from mbpo_core.evaluation.statistics import Block, Figure, block, quotient
from mbpo_core.records import Options

Rule = Callable[[str, Options], Extraction]

INDEPENDENT = (Figure("accuracy", quotient(0, 1), wilson=True),)
"""Share of right answers to questions that have each their own image."""
BY_UNIT = (Figure("accuracy", quotient(0, 1)),)
"""Share of right answers where several questions are about one image."""


@dataclass(frozen=True)
class MultipleChoice:
    """Questions whose gold answer is a letter, and the rule that reads a letter."""

    questions: Sequence[Question]
    rule: Rule

    def score(self, question: Question, response: str, review: Review | None = None) -> Score:
        """Read a letter by the benchmark's rule; none at all is wrong, as official scripts do."""
        letter, rule = self.rule(response, question.options)
        right = letter == question.closed_answer
        return Score(correct=right, points=float(right), extracted=letter, rule=rule,
                     facts=dict(question.facts))  # fmt: skip


def accuracy(kind: str, answers: Sequence[Answer], figures: Sequence[Figure]) -> Block:
    """Return the accuracy of some answers, as a fraction."""
    rows = [(float(bool(a.score.correct)), 1.0) for a in answers]
    return block(kind, [a.unit for a in answers], rows, figures)
