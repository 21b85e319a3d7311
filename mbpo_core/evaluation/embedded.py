"""The benchmark of the embedded world: every kind of question, with exact truth."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from mbpo_core.data.images import encode_png
from mbpo_core.evaluation.own import own_blocks, verified
from mbpo_core.evaluation.protocol import Answer, Question, Review, Score
from mbpo_core.evaluation.statistics import Block
from mbpo_core.testbed.captions import hallucinated, mentions
from mbpo_core.testbed.questions import LETTERS, NUMBERS, QUESTION_KINDS, ask
from mbpo_core.testbed.questions import Question as Asked
from mbpo_core.testbed.scenes import COLORS, PLACES, Flavour, Scene, draw, seed_of
from mbpo_core.testbed.world import Split, scenes

_WORDS = {"color": tuple(COLORS), "where": PLACES, "count": tuple(NUMBERS.values())}
"""For open questions with a one-word gold: the words that would be an answer."""
_CLOSED = {"existence": "yes_no", "attribute": "yes_no", "choice": "multiple_choice"}


@dataclass(frozen=True)
class Embedded:
    """Questions about the scenes of one split and flavour."""

    questions: Sequence[Question]

    def score(self, question: Question, response: str, review: Review | None = None) -> Score:
        """Score captions by exact truth, closed kinds by the verifier, others by word."""
        if question.kind == "describe":
            said, wrong = mentions(response), hallucinated(response, question.facts["truth"])
            return Score(points=float(not wrong), mentions=len(said), hallucinated=len(wrong))
        if question.closed_kind is not None:
            return verified(question, response)
        words = _said(response, _WORDS[question.kind])
        right = words == [question.facts["gold"]]
        return Score(right, float(right), ", ".join(words) or None, "words")


def load(
    part: Split,
    flavour: Flavour,
    n_scenes: int,
    *,
    seed: int = 0,
    blank: bool = False,
    images: bool = True,
) -> Embedded:
    """Return one question of every kind for each of the first scenes of a split.

    Args:
        part: `dev` or `test`.
        flavour: `consistent` or `counter`.
        n_scenes: how many scenes.
        seed: another seed gives other scenes of the part.
        blank: the pictures are black (the blank image v0 of eq. 4) and the benchmark's name ends
            with `-blank`: what is right then is right by the prior.
        images: draw the pictures; scoring needs none.
    """
    name = f"embedded/{flavour}{'-blank' if blank else ''}"
    found = []
    for scene in scenes(part, n_scenes, seed=seed, flavour=flavour):
        png = _picture(scene, blank) if images else None
        for kind in QUESTION_KINDS:
            asked = ask(scene, kind, random.Random(seed_of("question", scene.name, 0, kind)))
            found.append(_question(scene, name, asked, png))
    return Embedded(tuple(found))


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """Accuracy, yes-rate, CHAIR_i, CHAIR_s and mean gain of each kind and of all."""
    return own_blocks(answers)


def _picture(scene: Scene, blank: bool) -> bytes:
    picture = draw(scene)
    return encode_png(Image.new("RGB", picture.size) if blank else picture)


def _question(scene: Scene, benchmark: str, asked: Asked, png: bytes | None) -> Question:
    closed = asked.kind in _CLOSED
    return Question(
        question_id=f"{scene.name}-{asked.kind}",
        benchmark=benchmark,
        kind=asked.kind,
        text=asked.text,
        prompt=asked.text,
        answer=asked.answer,
        image=png,
        unit=scene.name,
        closed_kind=_CLOSED.get(asked.kind),
        closed_answer=asked.gold if closed else None,
        options=tuple(zip(LETTERS, asked.options, strict=False)),
        join={"question_id": f"{scene.name}-{asked.kind}"},
        facts={"gold": asked.gold, "truth": scene.truth()},
    )


def _said(response: str, words: tuple[str, ...]) -> list[str]:
    """Return which of the words a text says, longest first so that "top left" is not "left"."""
    pattern = "|".join(sorted(map(re.escape, words), key=lambda word: (-len(word), word)))
    return sorted(set(re.findall(rf"\b(?:{pattern})\b", response.lower())))
