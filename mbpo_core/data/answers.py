"""Where an answer stands in a completion, how texts are compared, and reading of yes or no."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

MAX_CHARACTERS: Final = 10_000
"""Longer completions are not read: no closed-ended answer has that length."""

Extraction = tuple[str | None, str]
"""Answer (or None), and the rule that found it (or why none was found)."""

_THOUGHT = re.compile(r"^.*</think>|<think>.*$", re.DOTALL | re.IGNORECASE)
_TAGGED = re.compile(r"<(answer|conclusion)>(.*?)(?:</\1>|$)", re.DOTALL | re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_LATEX = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
_MARKUP = re.compile(r"[*`\"“”„«»「」$~]|(?<!\w)'|'(?!\w)|^[#>\s]+", re.MULTILINE)
_EDGES: Final = " \t\n.,:;!?()[]{}、。-–—"


def readable(completion: str) -> tuple[str, Extraction]:
    """Return the one text that holds the answer, cleaned; or "" and why there is none.

    Thoughts (`<think>`) are left out. `<answer>` or boxed parts, where there are any, stand for the
    whole; two different ones contradict each other.
    """
    if len(completion) > MAX_CHARACTERS:
        return "", (None, "unparseable")
    whole = unicodedata.normalize("NFKC", completion)
    if len(whole) > MAX_CHARACTERS:  # one character may stand for eighteen
        return "", (None, "unparseable")
    text = _THOUGHT.sub("", whole)
    marked = [inner for _, inner in _TAGGED.findall(text)] or _BOXED.findall(text)
    cleaned = (_clean(_unboxed(part)) for part in marked or [text])
    distinct = {plain(part): part for part in cleaned if plain(part)}
    if not distinct:
        return "", (None, "empty")
    if len(distinct) > 1:
        return "", (None, "contradictory")
    return next(iter(distinct.values())), (None, "unparseable")


def plain(text: str) -> str:
    """Return a text as it is compared: NFKC, case folded, without markup and outer punctuation."""
    folded = _clean(unicodedata.normalize("NFKC", text)).casefold()
    return " ".join(folded.split()).strip(_EDGES)


def single(found: Iterable[str], rule: str) -> Extraction | None:
    """Return one distinct answer, or a contradiction; None where nothing was found."""
    distinct = set(found)
    if not distinct:
        return None
    return (distinct.pop(), rule) if len(distinct) == 1 else (None, "contradictory")


def _unboxed(text: str) -> str:
    return next(iter(_BOXED.findall(text)), text)


def _clean(text: str) -> str:
    text = _LATEX.sub(r"\1", text).replace("_", " ").replace("‘", "'").replace("’", "'")
    text = _MARKUP.sub("", text)
    return "\n".join(" ".join(line.split()) for line in text.splitlines()).strip()


_FILLER = re.compile(r"\bno (?:doubt|question|problem|matter)\b")
_NO_ANSWER = re.compile(
    r"\bno (?:idea|clue|comment|answer|opinion|information|way to)\b"
    r"|\b(?:no one|nobody) (?:knows|can (?:know|say|tell))\b"
    r"|\byes\W{0,3}or\W{0,3}no\b|\bno\W{0,3}or\W{0,3}yes\b"
)
_UNSURE = re.compile(
    r"\b(?:not|n't|cannot|unable to|impossible to|hard to|difficult to|not enough)\s+(?:\w+ )?"
    r"(?:know|tell|say|see|determine|answer|decide|judge|information|sure|certain|clear)\b"
    r"|(?:n't|\bcannot) (?:\w+ )?(?:know|tell|say|see|determine|answer|decide|judge|be sure)\b"
    r"|\b(?:unsure|uncertain|unclear|unknown|maybe|perhaps|possibly|if|whether)\b"
)
_DENIED = re.compile(r"(?:\bnot|n't|\bnever|\bneither|\bnor)\s+(?:a |an )?(?:yes|no)\b")
_POLARITY = re.compile(r"\b(?:yes|no)\b")
_FIRST = re.compile(r"^\W*(yes|no)\b")
_JOIN: Final = r"[\W_]*(?:(?:and|but|also|actually|wait)\b[\W_]*)*"
_OPPOSED = re.compile(rf"^\W*(?:yes{_JOIN}\bno\b|no{_JOIN}\byes\b)")
_STATED = re.compile(
    r"\b(?:answer|verdict|conclusion)(?: is| would be| should be|:)[: ]*(yes|no)\b"
    r"|(?:[,.;:!?\n]|\b(?:so|hence|thus|therefore|is|say|actually|then))[ ,:]*(yes|no)[\s.!]*$"
)


def extract_yes_no(completion: str) -> Extraction:
    """Read `yes` or `no`, in English: the first word, a stated verdict, else the one that occurs.

    A later verdict of the other kind contradicts the first word. "no" before a noun ("there is no
    dog") counts as no, but "no idea" and whatever else says that nothing is known does not.
    """
    text, problem = readable(completion)
    folded = _FILLER.sub(" ", text.casefold())
    if not text or _NO_ANSWER.search(folded):
        return problem
    first = [match[1]] if (match := _FIRST.search(folded)) else []
    stated = [either or other for either, other in _STATED.findall(folded)]
    if _OPPOSED.search(folded):
        return None, "contradictory"
    if first:
        return single(first + stated, "first_word") or problem
    if _UNSURE.search(folded) or _DENIED.search(folded):
        return problem
    words = _POLARITY.findall(folded)
    if len(set(words)) > 1 and not stated:
        return None, "contradictory"
    return single(stated, "stated") or single(words, "only_word") or problem
