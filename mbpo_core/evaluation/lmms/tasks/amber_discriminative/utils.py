"""Functions that amber_discriminative.yaml names; lmms-eval wants one for each figure."""

from collections.abc import Sequence
from typing import Any

from mbpo_core.evaluation.lmms.bridge import amber_figures, doc_to_text, doc_to_visual
from mbpo_core.evaluation.lmms.bridge import amber_results as process_results

__all__ = ["doc_to_text", "doc_to_visual", "process_results"]


def accuracy(answers: Sequence[dict[str, Any]]) -> float:
    """Share of right answers."""
    return amber_figures(answers)["accuracy"]


def precision(answers: Sequence[dict[str, Any]]) -> float:
    """Right "No" / all "No"."""
    return amber_figures(answers)["precision"]


def recall(answers: Sequence[dict[str, Any]]) -> float:
    """Right "No" / all questions whose answer is no."""
    return amber_figures(answers)["recall"]


def f1(answers: Sequence[dict[str, Any]]) -> float:
    """F1 of the rounded precision and recall."""
    return amber_figures(answers)["f1"]
