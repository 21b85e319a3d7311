"""Common errors in the language of the embedded world, each of which stays in that language.

Common is what the prior says: a wrong colour is the object's typical one wherever that is wrong,
and objects that are not there come in their typical colour.
"""

import random
import re
from collections.abc import Sequence
from typing import Final

from mbpo_core.injection import RuleInjector
from mbpo_core.testbed.captions import mentions
from mbpo_core.testbed.questions import ATTRIBUTE_WORDINGS, NUMBERS, caption
from mbpo_core.testbed.scenes import (
    COLORS,
    KINDS,
    MAX_OBJECTS,
    PLACES,
    TYPICAL_COLOR,
    Scene,
    SceneObject,
)

_KIND: Final = rf"(?P<kind>{'|'.join(KINDS)})"
_COLOR: Final = rf"(?P<color>{'|'.join(COLORS)})"
_COLOR_ANSWER: Final = re.compile(rf"The {_KIND} is {_COLOR}\.")
_PLACE_ANSWER: Final = re.compile(rf"The {_KIND} is at the (?P<place>{'|'.join(PLACES)})\.")
_COUNT_ANSWER: Final = re.compile(rf"There are (?P<number>{'|'.join(NUMBERS.values())}) objects\.")
_PRESENT: Final = re.compile(rf"Yes, there is a {_COLOR} {_KIND}\.")
_ABSENT: Final = re.compile(rf"No, there is no {_KIND}\.")
_ATTRIBUTE_ANSWER: Final = re.compile(rf"(?P<verdict>Yes|No), the {_KIND} is {_COLOR}\.")
_CHOICE_ANSWER: Final = re.compile(rf"(?P<letter>[A-F])\. {_COLOR}")
_OPTION: Final = re.compile(r"^([A-F])\. (.+)$", re.MULTILINE)

Named = tuple[str, str]
"""Colour and kind of an object."""


def told(objects: Sequence[Named]) -> str:
    """The caption that names these objects, in this order."""
    placed = tuple(SceneObject(cell, kind, color) for cell, (color, kind) in enumerate(objects))
    return caption(Scene("pool", "", placed, drawing_seed=0))


def read_caption(text: str) -> list[Named] | None:
    """The objects of a caption; None if the text is not one, or names a kind twice."""
    named = [(found.color or "", found.object) for found in mentions(text)]
    kinds = {kind for _, kind in named}
    if not 2 <= len(named) == len(kinds) or told(named) != text:
        return None
    return named


def recolored(question: str, chosen: str, rng: random.Random) -> str | None:
    """A caption with one object in a wrong colour."""
    named = read_caption(chosen)
    if named is None:
        return None
    index = rng.randrange(len(named))
    color, kind = named[index]
    return told([*named[:index], (_wrong_color(kind, color, rng), kind), *named[index + 1 :]])


def exchanged(question: str, chosen: str, rng: random.Random) -> str | None:
    """A caption with one object taken for another one, if possible one that has this colour."""
    named = read_caption(chosen)
    if named is None:
        return None
    index = rng.randrange(len(named))
    color, _ = named[index]
    absent = _absent(named)
    fitting = [kind for kind in absent if TYPICAL_COLOR[kind] == color]
    return told([*named[:index], (color, rng.choice(fitting or absent)), *named[index + 1 :]])


def added(question: str, chosen: str, rng: random.Random) -> str | None:
    """A caption with an object that is not there; none if it is full."""
    named = read_caption(chosen)
    if named is None or len(named) >= MAX_OBJECTS:
        return None
    kind, index = rng.choice(_absent(named)), rng.randint(0, len(named))
    return told([*named[:index], (TYPICAL_COLOR[kind], kind), *named[index:]])


def wrong_color(question: str, chosen: str, rng: random.Random) -> str | None:
    """Another colour in the answer to a question for one."""
    match = _COLOR_ANSWER.fullmatch(chosen)
    if match is None:
        return None
    return f"The {match['kind']} is {_wrong_color(match['kind'], match['color'], rng)}."


def wrong_place(question: str, chosen: str, rng: random.Random) -> str | None:
    """Another place."""
    match = _PLACE_ANSWER.fullmatch(chosen)
    if match is None:
        return None
    place = rng.choice([place for place in PLACES if place != match["place"]])
    return f"The {match['kind']} is at the {place}."


def wrong_number(question: str, chosen: str, rng: random.Random) -> str | None:
    """Another number."""
    match = _COUNT_ANSWER.fullmatch(chosen)
    if match is None:
        return None
    number = rng.choice([number for number in NUMBERS.values() if number != match["number"]])
    return f"There are {number} objects."


def wrong_existence(question: str, chosen: str, rng: random.Random) -> str | None:
    """The other verdict on whether an object is there, with the reason that goes with it."""
    if match := _PRESENT.fullmatch(chosen):
        return f"No, there is no {match['kind']}."
    if match := _ABSENT.fullmatch(chosen):
        return f"Yes, there is a {TYPICAL_COLOR[match['kind']]} {match['kind']}."
    return None


def wrong_attribute(question: str, chosen: str, rng: random.Random) -> str | None:
    """The other verdict on a colour that was asked for, with the reason that goes with it."""
    match = _ATTRIBUTE_ANSWER.fullmatch(chosen)
    if match is None:
        return None
    kind, color = match["kind"], match["color"]
    asked = [c for c in COLORS for w in ATTRIBUTE_WORDINGS if question == w.format(kind, c)]
    if not asked or (match["verdict"] == "Yes") != (asked[0] == color):
        return None  # another question, or an answer that contradicts itself
    if match["verdict"] == "No":
        return f"Yes, the {kind} is {asked[0]}."
    return f"No, the {kind} is {_wrong_color(kind, color, rng)}."


def wrong_letter(question: str, chosen: str, rng: random.Random) -> str | None:
    """Another option with its letter, if possible the typical colour of what was asked for."""
    match, options = _CHOICE_ANSWER.fullmatch(chosen), dict(_OPTION.findall(question))
    if match is None or options.get(match["letter"]) != match["color"]:
        return None
    wrong = [(letter, color) for letter, color in options.items() if letter != match["letter"]]
    typical = {TYPICAL_COLOR[found.object] for found in mentions(question)}
    fitting = [(letter, color) for letter, color in wrong if color in typical]
    if not wrong:
        return None
    letter, color = rng.choice(fitting or wrong)
    return f"{letter}. {color}"


RULES: Final = (
    recolored, exchanged, added, wrong_color, wrong_place, wrong_number, wrong_existence,
    wrong_attribute, wrong_letter,
)  # fmt: skip
EMBEDDED_INJECTOR: Final = RuleInjector(RULES)
"""`Injector` for every answer of the embedded world; None for text of any other form."""


def _wrong_color(kind: str, color: str, rng: random.Random) -> str:
    if color != TYPICAL_COLOR[kind]:
        return TYPICAL_COLOR[kind]
    return rng.choice([other for other in COLORS if other != color])


def _absent(named: Sequence[Named]) -> list[str]:
    return [kind for kind in KINDS if kind not in {present for _, present in named}]
