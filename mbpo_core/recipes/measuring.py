"""A recipe that only measures: no data, no training, a model or a file of answers on benchmarks."""

from __future__ import annotations

from typing import Any

from mbpo_core.config import (
    AnswerConfig,
    EmbeddedModel,
    EmbeddedSource,
    EvaluateConfig,
    IngestConfig,
    Model,
    Recipe,
)


def measuring(
    benchmarks: list[dict[str, Any]],
    *,
    policy: Model | None = None,
    answer: dict[str, Any],
    evaluate: dict[str, Any],
) -> Recipe:
    """Return a recipe of which the stages ask, answer and evaluate are meant to run.

    Args:
        benchmarks: as in `evaluate.benchmarks`.
        policy: the model; None where `answer` names a file of answers.
        answer, evaluate: further settings of these stages.
    """
    model = policy or EmbeddedModel()
    return Recipe(
        name="eval",
        scorer=model,
        policy=model,
        ingest=IngestConfig(source=EmbeddedSource()),
        answer=AnswerConfig.model_validate({"models": ["base"]} | answer),
        evaluate=EvaluateConfig.model_validate({"benchmarks": benchmarks} | evaluate),
    )


STAGES = ("ask", "answer", "evaluate")
