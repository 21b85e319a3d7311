"""What a caption claims, and which of it is not true: the exact form of object hallucination."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from mbpo_core.testbed.scenes import COLORS, KINDS

_MENTION: Final = re.compile(rf"\b(?:({'|'.join(COLORS)})\s+)?({'|'.join(KINDS)})\b", re.IGNORECASE)


class Mention(NamedTuple):
    """One object mention."""

    object: str
    """Kind of object, lower case."""
    color: str | None
    """The colour word right before it, None where there is none."""


def mentions(caption: str) -> list[Mention]:
    """Every object mention of a caption, in order, with repeats.

    The language of the testbed puts the colour right before the object; other words are ignored.
    """
    return [
        Mention(kind.lower(), color.lower() if color else None)
        for color, kind in _MENTION.findall(caption)
    ]


def hallucinated(caption: str, truth: Iterable[dict[str, str | int]]) -> list[Mention]:
    """The mentions of a caption that the scene does not bear out.

    A mention is true iff the scene holds that object in that colour; one without a colour is true
    iff the scene holds the object. So CHAIR_i = sum of len(hallucinated) / sum of len(mentions)
    over a set of captions, and CHAIR_s = share of captions with a non-empty list.

    Args:
        caption: any text.
        truth: `Scene.truth()`, or the same read back from JSON.

    Differs from the paper: classic CHAIR compares objects alone; here a wrong colour counts as
    well, because colour is what the prior of this world lies about.
    """
    pairs = {(item["object"], item["color"]) for item in truth}
    pairs |= {(kind, None) for kind, _ in pairs}
    return [mention for mention in mentions(caption) if tuple(mention) not in pairs]
