"""AMBER as a whole (Wang et al. 2023, arXiv 2311.07397): both tasks in one file of answers.

Figures are those of `amber_generative` and `amber_discriminative`, and the paper's AMBER score,
(100 - CHAIR + F1) / 2 in percent, of the figures as they are rounded. The official script does not
print the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mbpo_core.evaluation import amber_discriminative, amber_generative
from mbpo_core.evaluation.amber_discriminative import AmberDiscriminative, amber_score
from mbpo_core.evaluation.amber_generative import AmberGenerative, Similarity, identity
from mbpo_core.evaluation.groups import side_by_side
from mbpo_core.evaluation.protocol import Answer, Question, Review, Score, SourceFile
from mbpo_core.evaluation.statistics import Block, Figure, Sums, block

KEYS = (("question_id",), ("image", "text"))
_YES_OR_NO = 16
"""Tokens."""


@dataclass(frozen=True)
class Amber:
    """Descriptions and yes/no questions about the same images."""

    generative: AmberGenerative
    discriminative: AmberDiscriminative

    @property
    def questions(self) -> Sequence[Question]:
        """All questions: the descriptions first, as they are numbered."""
        short = [replace(q, max_new_tokens=_YES_OR_NO) for q in self.discriminative.questions]
        both = (*self.generative.questions, *short)
        return tuple(replace(question, benchmark="amber") for question in both)

    def score(self, question: Question, response: str, review: Review | None = None) -> Score:
        """Score an answer by the task that its question belongs to."""
        task = self.generative if question.kind == amber_generative.KIND else self.discriminative
        return task.score(question, response)


def load(files: Sequence[SourceFile], similarity: Similarity = identity) -> Amber:
    """Return the benchmark of `annotations.json`, `relation.json`, `safe_words.txt` and
    `query_all.json`.

    Raises:
        BenchmarkError: as `amber_generative.load` and `amber_discriminative.load`.
    """
    return Amber(amber_generative.load(files, similarity), amber_discriminative.load(files))


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """Figures of the task or tasks that were answered; of both, the AMBER score too."""
    described = [a for a in answers if a.kind == amber_generative.KIND]
    asked = [a for a in answers if a.kind != amber_generative.KIND]
    found = amber_generative.blocks(described) if described else []
    found += amber_discriminative.blocks(asked) if asked else []
    if described and asked:
        found.append(_overall(found, [a.unit for a in (*described, *asked)]))
    return found


def _overall(parts: Sequence[Block], units: Sequence[str]) -> Block:
    """Return the AMBER score over the terms of both tasks, side by side."""
    generative = next(b for b in parts if b.kind == amber_generative.KIND)
    whole = next(b for b in parts if b.kind == "all")
    chair = next(f for f in generative.figures if f.metric == "chair")
    f1 = next(f for f in whole.figures if f.metric == "f1")
    width = max(generative.terms.shape[1], whole.terms.shape[1])

    def value(sums: Sums) -> Sums:
        each = sums.reshape(*sums.shape[:-1], 2, width)
        left = each[..., 0, : generative.terms.shape[1]]
        right = each[..., 1, : whole.terms.shape[1]]
        return np.vectorize(amber_score, otypes=[np.float64])(chair.value(left), f1.value(right))

    rows = side_by_side([[_padded(row, width) for row in b.terms] for b in (generative, whole)])
    return block("all", units, rows, [Figure("amber_score", value)])


def _padded(row: Sums, width: int) -> Sums:
    return np.pad(row, (0, width - len(row)))
