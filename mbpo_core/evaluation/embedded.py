"""The benchmark of the embedded world: every kind of question, with exact truth."""

from __future__ import annotations

import random
import re

from PIL import Image

from mbpo_core.data.images import encode_png
from mbpo_core.evaluation.protocol import Item, Score
from mbpo_core.rewards import verify
from mbpo_core.testbed.captions import hallucinated, mentions
from mbpo_core.testbed.questions import LETTERS, NUMBERS, QUESTION_KINDS, Question, ask
from mbpo_core.testbed.scenes import COLORS, PLACES, Flavour, draw, seed_of
from mbpo_core.testbed.world import Split, scenes

_WORDS = {"color": tuple(COLORS), "where": PLACES, "count": tuple(NUMBERS.values())}
"""For open questions with a one-word gold: the words that would be an answer."""


def items(part: Split, flavour: Flavour, n_scenes: int, *, blank: bool = False) -> list[Item]:
    """Return one question of every kind for each of the first scenes of a split.

    With `blank` the pictures are black (the blank image v0 of eq. 4) and the benchmark's name ends
    with `-blank`: what is right then is right by the prior.
    """
    name = f"embedded/{flavour}{'-blank' if blank else ''}"
    found = []
    for scene in scenes(part, n_scenes, flavour=flavour):
        picture = draw(scene)
        png = encode_png(Image.new("RGB", picture.size) if blank else picture)
        for kind in QUESTION_KINDS:
            question = ask(scene, kind, random.Random(seed_of("question", scene.name, 0, kind)))
            found.append(_item(f"{scene.name}-{kind}", name, question, png, scene.truth()))
    return found


def _item(name: str, benchmark: str, question: Question, png: bytes, truth: list) -> Item:
    closed = {"existence": "yes_no", "attribute": "yes_no", "choice": "multiple_choice"}
    return Item(
        question_id=f"{benchmark}/{name}",
        benchmark=benchmark,
        kind=question.kind,
        question=question.text,
        answer=question.answer,
        image_png=png,
        closed_kind=closed.get(question.kind),
        closed_answer=question.gold if question.kind in closed else None,
        options=tuple(zip(LETTERS, question.options, strict=False)),
        details={"gold": question.gold, "truth": truth},
    )


def score(item: Item, response: str) -> Score:
    """Score one answer: captions by exact truth, closed kinds by the verifier, others by word."""
    if item.kind == "describe":
        truth = item.details["truth"]
        return Score(
            mentions=len(mentions(response)), hallucinated=len(hallucinated(response, truth))
        )
    if item.closed_kind is not None:
        verdict = verify(response, item.closed_kind, item.closed_answer, item.options)
        said_yes = verdict.extracted == "yes" if item.closed_kind == "yes_no" else None
        return Score(verdict.reward == 1.0, verdict.extracted, verdict.rule, said_yes)
    said = _said(response, _WORDS[item.kind])
    return Score(said == [item.details["gold"]], ", ".join(said) or None, "words")


def _said(response: str, words: tuple[str, ...]) -> list[str]:
    """Return which of the words a text says, longest first so that "top left" is not "left"."""
    pattern = "|".join(sorted(map(re.escape, words), key=lambda word: (-len(word), word)))
    return sorted(set(re.findall(rf"\b(?:{pattern})\b", response.lower())))
