"""Text-only exercises: what a closed question needs besides eyes.

Answering "Is the banana red?" takes a comparison of two words, answering with a letter takes
finding the line of a word. Both are slow to learn through the image; here the text gives the fact.
"""

import random
from dataclasses import dataclass

from mbpo_core.testbed.questions import QuestionKind, ask
from mbpo_core.testbed.scenes import Scene, make_scene


@dataclass(frozen=True)
class Exercise:
    """A question that its own text answers."""

    text: str
    """Facts, then the question."""
    answer: str
    """The full answer."""
    kind: QuestionKind
    """What is asked for."""


def facts(scene: Scene) -> str:
    """The scene in words, colours only."""
    return " ".join(f"The {found.kind} is {found.color}." for found in scene.objects)


def make_exercise(rng: random.Random) -> Exercise:
    """A question of a random closed kind (or for a colour) about facts that stand before it."""
    scene = make_scene("base", rng.getrandbits(32), typical_share=1 / 6)
    kinds: tuple[QuestionKind, ...] = ("attribute", "choice", "existence", "color")
    question = ask(scene, rng.choice(kinds), rng)
    return Exercise(f"{facts(scene)} {question.text}", question.answer, question.kind)
