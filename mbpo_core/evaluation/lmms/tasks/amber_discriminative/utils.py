"""Functions that amber_discriminative.yaml names; lmms-eval wants one for each figure."""

from collections.abc import Sequence
from typing import Any

from mbpo_core.evaluation.lmms.bridge import amber_figures, doc_to_text, doc_to_visual
from mbpo_core.evaluation.lmms.bridge import amber_results as process_results

__all__ = ["doc_to_text", "doc_to_visual", "process_results"]


def accuracy(answers: Sequence[dict[str, Any]]) -> float:
    """Right answers, percent."""
    return amber_figures(answers)["accuracy"]


def precision(answers: Sequence[dict[str, Any]]) -> float:
    """Right "No" / all "No", percent."""
    return amber_figures(answers)["precision"]


def recall(answers: Sequence[dict[str, Any]]) -> float:
    """Right "No" / all questions whose answer is no, percent."""
    return amber_figures(answers)["recall"]


def f1(answers: Sequence[dict[str, Any]]) -> float:
    """F1 of the rounded precision and recall, percent."""
    return amber_figures(answers)["f1"]


def unread(answers: Sequence[dict[str, Any]]) -> float:
    """Share of answers in which no yes or no was found."""
    return amber_figures(answers)["unread"]
