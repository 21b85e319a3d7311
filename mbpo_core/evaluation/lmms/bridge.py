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

from mbpo_core.evaluation.embedded import Embedded
from mbpo_core.evaluation.lmms.questions import embedded_question
from mbpo_core.rewards import verify

AMBER_GROUPS: Final = {
    "discriminative-hallucination": ("existence",),
    "discriminative-attribute-state": ("attribute", "state"),
    "discriminative-attribute-number": ("attribute", "number"),
    "discriminative-attribute-action": ("attribute", "action"),
    "discriminative-relation": ("relation",),
    "relation": ("relation",),
}
"""Types in AMBER's annotations, and the groups of its report that they count for beside `all`."""
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

    The official script takes exactly `Yes` and `No`. Here the verifier reads the answer first, so
    that "No, there is none." is a no; what it cannot read is neither, hence wrong.

    Raises:
        ValueError: an unknown type of question.
    """
    facts = json.loads(doc["details"])
    groups = AMBER_GROUPS.get(facts["type"])
    if groups is None:
        raise ValueError(f"AMBER question {facts['id']} has the unknown type {facts['type']!r}")
    said = verify(results[0], "yes_no", facts["truth"]).extracted
    answer = facts | {"said": said}
    return {
        f"{figure}/{group}" if group != "all" else figure: answer | {"group": group}
        for group in ("all", *groups)
        for figure in AMBER_FIGURES
    }


def amber_figures(answers: Sequence[Answer]) -> dict[str, float]:
    """Accuracy, precision, recall and F1 of one group in percent; "No" is the positive class.

    AMBER's inference.py: counters in a denominator begin at 0.001 (attribute adds up three of
    them), figures are rounded to one digit, and F1 is taken of the rounded ones, with 0.0001
    (existence: 0.001) below. `unread` is the share of answers without a yes or no.
    """
    group = answers[0]["group"]
    start = 0.003 if group == "attribute" else 0.001
    right = sum(a["said"] == a["truth"] for a in answers)
    no = sum(a["truth"] == "no" for a in answers)
    said_no = sum(a["said"] == "no" for a in answers)
    both = sum(a["said"] == a["truth"] == "no" for a in answers)
    accuracy, precision, recall = (
        round(count / (of + start) * 100, 1)
        for count, of in ((right, len(answers)), (both, said_no), (both, no))
    )
    small = 0.001 if group == "existence" else 0.0001
    product, total = (precision / 100) * (recall / 100), precision / 100 + recall / 100
    f1 = round(2 * product / (total + small) * 100, 1)
    unread = sum(a["said"] is None for a in answers) / len(answers)
    return dict(zip(AMBER_FIGURES, (accuracy, precision, recall, f1, unread), strict=True))
