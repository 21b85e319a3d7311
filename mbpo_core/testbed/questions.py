"""Questions about a scene, with answers that follow from its truth.

Closed answers carry their reason ("Yes, the banana is yellow.", "B. yellow"), but begin with the
verdict, so that a reader who looks at the gold answer alone can tell what kind of question it is.

Wherever a wrong colour has to be offered, the typical colour is preferred when it is wrong: that is
where a model that trusts its prior fails.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from mbpo_core.testbed.scenes import COLORS, KINDS, TYPICAL_COLOR, Scene, SceneObject

QuestionKind = Literal["describe", "color", "where", "count", "existence", "attribute", "choice"]
QUESTION_KINDS: Final[tuple[QuestionKind, ...]] = get_args(QuestionKind)
CLOSED_KINDS: Final[tuple[QuestionKind, ...]] = ("existence", "attribute", "choice")
LETTERS: Final = "ABCDEF"
NUMBERS: Final = {2: "two", 3: "three", 4: "four"}

DESCRIBE_WORDINGS: Final = (
    "Describe the image.",
    "What is in the image?",
    "What do you see?",
)
COLOR_WORDINGS: Final = ("What color is the {}?", "Which color does the {} have?")
WHERE_WORDINGS: Final = ("Where is the {}?", "In which place is the {}?")
COUNT_WORDINGS: Final = ("How many objects are there?", "Count the objects.")
EXISTENCE_WORDINGS: Final = ("Is there a {}?", "Do you see a {}?")
ATTRIBUTE_WORDINGS: Final = ("Is the {} {}?", "Does the {} look {}?")


@dataclass(frozen=True)
class Question:
    """One question about one scene."""

    kind: QuestionKind
    """What is asked for."""
    text: str
    """The question; multiple choice has one line per option below it ("A. red")."""
    answer: str
    """The full gold answer."""
    gold: str
    """What decides: "yes" or "no", a letter, or the word (colour, place, number); for `describe`
    the whole answer."""
    options: tuple[str, ...] = ()
    """Texts of the options in order; empty unless `kind` is "choice"."""


def caption(scene: Scene) -> str:
    """All objects with their colours, in reading order."""
    *others, last = [f"a {found.color} {found.kind}" for found in scene.objects]
    return f"{', '.join(others)} and {last}.".capitalize()


def _wrong_colors(found: SceneObject, n: int, rng: random.Random) -> list[str]:
    """`n` different colours that the object does not have, often with its typical one."""
    wrong = [color for color in COLORS if color != found.color]
    chosen = rng.sample(wrong, n)
    typical = TYPICAL_COLOR[found.kind]
    if not found.is_typical and typical not in chosen and rng.random() < 0.5:
        chosen[rng.randrange(n)] = typical
    return chosen


def _describe(scene: Scene, rng: random.Random) -> Question:
    text = caption(scene)
    return Question("describe", rng.choice(DESCRIBE_WORDINGS), text, text)


def _color(scene: Scene, rng: random.Random) -> Question:
    found = rng.choice(scene.objects)
    text = rng.choice(COLOR_WORDINGS).format(found.kind)
    return Question("color", text, f"The {found.kind} is {found.color}.", found.color)


def _where(scene: Scene, rng: random.Random) -> Question:
    found = rng.choice(scene.objects)
    text = rng.choice(WHERE_WORDINGS).format(found.kind)
    return Question("where", text, f"The {found.kind} is at the {found.place}.", found.place)


def _count(scene: Scene, rng: random.Random) -> Question:
    number = NUMBERS[len(scene.objects)]
    return Question("count", rng.choice(COUNT_WORDINGS), f"There are {number} objects.", number)


def _existence(scene: Scene, rng: random.Random) -> Question:
    present = rng.choice(scene.objects)
    absent = rng.choice([kind for kind in KINDS if scene.find(kind) is None])
    wording = rng.choice(EXISTENCE_WORDINGS)
    if rng.random() < 0.5:
        answer = f"Yes, there is a {present.color} {present.kind}."
        return Question("existence", wording.format(present.kind), answer, "yes")
    return Question("existence", wording.format(absent), f"No, there is no {absent}.", "no")


def _attribute(scene: Scene, rng: random.Random) -> Question:
    found = rng.choice(scene.objects)
    gold = "yes" if rng.random() < 0.5 else "no"
    asked = found.color if gold == "yes" else _wrong_colors(found, 1, rng)[0]
    text = rng.choice(ATTRIBUTE_WORDINGS).format(found.kind, asked)
    return Question(
        "attribute", text, f"{gold.capitalize()}, the {found.kind} is {found.color}.", gold
    )


def _choice(scene: Scene, rng: random.Random) -> Question:
    found = rng.choice(scene.objects)
    options = [found.color, *_wrong_colors(found, rng.randint(1, 3), rng)]
    rng.shuffle(options)
    letter = LETTERS[options.index(found.color)]
    lines = [f"{name}. {text}" for name, text in zip(LETTERS, options, strict=False)]
    text = "\n".join([rng.choice(COLOR_WORDINGS).format(found.kind), *lines])
    return Question("choice", text, f"{letter}. {found.color}", letter, tuple(options))


_MAKERS: Final[dict[QuestionKind, Callable[[Scene, random.Random], Question]]] = {
    "describe": _describe,
    "color": _color,
    "where": _where,
    "count": _count,
    "existence": _existence,
    "attribute": _attribute,
    "choice": _choice,
}


def ask(scene: Scene, kind: QuestionKind, rng: random.Random) -> Question:
    """One question of that kind about the scene; `rng` picks wording, object and distractors.

    Raises:
        KeyError: unknown kind.
    """
    return _MAKERS[kind](scene, rng)
