"""What lmms-eval calls in our own tasks: the picture, the question, an answer's worth, the figures.

`tasks/<name>/utils.py` hand these on under the names that their YAML gives. An answer is stored as
a dictionary under every figure that it counts for; the figure is taken over all of them at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from PIL import Image

from mbpo_core.evaluation import amber_discriminative as amber
from mbpo_core.evaluation.embedded import Embedded
from mbpo_core.evaluation.lmms.questions import embedded_question
from mbpo_core.evaluation.protocol import Answer as ScoredAnswer
from mbpo_core.evaluation.protocol import Score

AMBER_GROUPS: Final = {
    "existence": ("existence",), "state": ("attribute", "state"),
    "number": ("attribute", "number"), "action": ("attribute", "action"),
    "relation": ("relation",),
}  # fmt: skip
"""Kinds of AMBER's questions, and the groups of its report that they count for beside `all`."""
AMBER_FIGURES: Final = ("accuracy", "precision", "recall", "f1", "unread")
Answer = dict[str, Any]


def doc_to_visual(doc: Answer, lmms_eval_specific_kwargs: dict[str, Any]) -> list[Image.Image]:
    """Open the document's picture below the image root of the generated YAML.

    Raises:
        FileNotFoundError: it is not there.
    """
    path = Path(lmms_eval_specific_kwargs["image_root"]) / doc["image"]
    if not path.is_file():
        raise FileNotFoundError(f"no image {path} for question {doc['question_id']}")
    with Image.open(path) as image:
        return [image.convert("RGB")]


def doc_to_text(doc: Answer, lmms_eval_specific_kwargs: dict[str, Any] | None = None) -> str:
    """Return the question, word for word: nothing is put before or behind it."""
    return doc["question"]


def answered(doc: Answer, results: Sequence[str]) -> dict[str, float]:
    """Say whether there is an answer at all; for tasks whose answers are scored outside."""
    return {"answered": float(bool(results[0].strip()))}


def embedded_results(doc: Answer, results: Sequence[str]) -> dict[str, Any]:
    """Score one answer of the embedded world by `mbpo_core.evaluation.embedded`.

    Accuracy counts for all kinds together and for its own; captions carry their counts.
    """
    question = embedded_question(doc["details"])
    score = Embedded((question,)).score(question, results[0])
    if score.mentions is not None:
        counts = {"mentions": score.mentions, "hallucinated": score.hallucinated}
        return {"chair_i/describe": counts, "chair_s/describe": float(score.hallucinated > 0)}
    right = float(bool(score.correct))
    found = {"accuracy": right, f"accuracy/{question.kind}": right}
    if score.said_yes is not None:
        found[f"yes_rate/{question.kind}"] = float(score.said_yes)
    return found


def chair_i(answers: Sequence[Answer]) -> float:
    """Hallucinated mentions / all mentions over the set (Rohrbach et al. 2018); NaN without any."""
    said = sum(answer["mentions"] for answer in answers)
    return sum(answer["hallucinated"] for answer in answers) / said if said else float("nan")


def amber_results(doc: Answer, results: Sequence[str]) -> dict[str, Answer]:
    """Read one discriminative answer of AMBER and file it under each figure of its groups.

    Raises:
        ValueError: an unknown type of question.
    """
    facts = json.loads(doc["details"])
    kind = amber.KINDS.get(facts["type"])
    if kind is None:
        raise ValueError(f"AMBER question {facts['id']} has the unknown type {facts['type']!r}")
    answer = facts | {"kind": kind, "said": amber.read(results[0])[0]}
    return {
        f"{figure}/{group}" if group != "all" else figure: answer | {"group": group}
        for group in ("all", *AMBER_GROUPS[kind])
        for figure in AMBER_FIGURES
    }


def amber_figures(answers: Sequence[Answer]) -> dict[str, float]:
    """Return the figures of one group of answers as `amber_discriminative` computes them."""
    group = answers[0]["group"]
    (block,) = (b for b in amber.blocks([_scored(a) for a in answers]) if b.kind == group)
    sums = block.terms.sum(0)
    return {figure.metric: float(figure.value(sums)) for figure in block.figures}


def _scored(answer: Answer) -> ScoredAnswer:
    said = answer["said"]
    score = Score(
        correct=said == answer["truth"],
        said_yes=None if said is None else said == "yes",
        facts={"gold": answer["truth"]},
    )
    name = str(answer["id"])
    return ScoredAnswer("", "amber-discriminative", name, answer["kind"], name, "", score)
