"""The benchmark of a recipe's own data: samples that training never saw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mbpo_core.evaluation.own import own_blocks, verified
from mbpo_core.evaluation.protocol import Answer, Question, Review, Score
from mbpo_core.evaluation.statistics import Block


@dataclass(frozen=True)
class HeldOut:
    """Questions of samples; open-ended ones only measure the gold answer's gain."""

    questions: Sequence[Question]

    def score(self, question: Question, response: str, review: Review | None = None) -> Score:
        """Score a closed-ended answer by the verifier; an open-ended one has no score."""
        return Score() if question.closed_kind is None else verified(question, response)


def load(samples: Iterable[dict[str, Any]]) -> HeldOut:
    """Return a question for every sample.

    Args:
        samples: rows with sample_id, image_id, question, response, closed_kind, closed_answer,
            options and, where it is to be answered, image `{bytes}`.
    """
    return HeldOut(tuple(_question(sample) for sample in samples))


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """Accuracy, yes-rate and mean gain of each kind and of all."""
    return own_blocks(answers)


def _question(sample: dict[str, Any]) -> Question:
    return Question(
        question_id=sample["sample_id"],
        benchmark="held_out",
        kind=sample["closed_kind"] or "open",
        text=sample["question"],
        prompt=sample["question"],
        answer=sample["response"],
        image=sample["image"]["bytes"] if sample.get("image") else None,
        unit=sample["image_id"],
        closed_kind=sample["closed_kind"],
        closed_answer=sample["closed_answer"],
        options=tuple((o["letter"], o["text"]) for o in sample["options"] or ()),
        join={"question_id": sample["sample_id"]},
    )
