"""The benchmark of a recipe's own data: samples that training never saw."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mbpo_core.evaluation.protocol import Item, Score
from mbpo_core.rewards import verify


def items(samples: Iterable[dict[str, Any]]) -> list[Item]:
    """Return a question for every sample; open-ended ones only measure the gold answer's gain."""
    return [
        Item(
            question_id=f"held_out/{sample['sample_id']}",
            benchmark="held_out",
            kind=sample["closed_kind"] or "open",
            question=sample["question"],
            answer=sample["response"],
            image_png=sample["image"]["bytes"],
            closed_kind=sample["closed_kind"],
            closed_answer=sample["closed_answer"],
            options=tuple((o["letter"], o["text"]) for o in sample["options"] or ()),
        )
        for sample in samples
    ]


def score(item: Item, response: str) -> Score:
    """Score a closed-ended answer by the verifier; an open-ended one has no score."""
    if item.closed_kind is None:
        return Score()
    verdict = verify(response, item.closed_kind, item.closed_answer, item.options)
    said_yes = verdict.extracted == "yes" if item.closed_kind == "yes_no" else None
    return Score(verdict.reward == 1.0, verdict.extracted, verdict.rule, said_yes)
