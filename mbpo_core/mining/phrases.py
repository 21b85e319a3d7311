"""Candidate phrases of a response: `adjective* noun+`.

Words are tagged and stemmed by TextBlob, imported where it is used; its lexicon is bundled and
nothing is downloaded.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

COLOR_WORDS: Final = frozenset(
    ("black", "blue", "brown", "gray", "green", "grey", "pink", "purple", "red", "white", "yellow")
)
"""Colours that a tagger may take for nouns; `orange` is left out, it is a fruit as well."""
_PICTURE: Final = ("image", "picture", "photo", "photograph", "scene", "view", "distance")
_SIDES: Final = ("left", "right", "top", "bottom", "front", "back", "side", "corner", "edge")
_PLACES: Final = ("center", "centre", "middle", "part", "area", "background", "foreground", "way")
_AMOUNTS: Final = ("number", "variety", "group", "pair", "couple", "kind", "type")
_GENERAL: Final = ("color", "colour", "shape", "object", "item", "thing", "answer", "option")
NON_OBJECTS: Final = COLOR_WORDS.union(_PICTURE, _SIDES, _PLACES, _AMOUNTS, _GENERAL)
"""Head nouns that name no region (assumed)."""

_WORD: Final = re.compile(r"[^\W_]{2,}(?:-[^\W_]+)*")
_SENTENCE_START: Final = re.compile(r"(?:^|[.!?]\s+)[A-Z](?=[a-z])")
_ADJECTIVES: Final = ("JJ", "JJR", "JJS")
_NOUNS: Final = ("NN", "NNS", "NNP", "NNPS")
_CLOSERS: Final = (".", ",", "CC", "IN", "VBZ", "VBP", "VBD", "MD")
_MIN_LENGTH: Final = 3

Token = tuple[str, str]
"""A word as it stands and its Penn Treebank tag."""


@dataclass(frozen=True)
class Phrase:
    """A candidate: all occurrences of one sequence of stems."""

    text: str
    """As it first stands, lower case."""
    positions: tuple[int, ...]
    """Place of the first word of every occurrence among all tokens of the text, from 0."""
    stems: tuple[str, ...]
    """Porter stems of its words."""
    noun: str
    """Its nouns without adjectives and colours, the last one in the singular."""


def candidate_phrases(text: str) -> list[Phrase]:
    """The longest sequences `adjective* noun+` of a text, in order of first appearance.

    Sequences are one phrase if their stems are equal. As in the published code (pke) a phrase is
    left out whole if it is shorter than 3 characters, or if one of its words has fewer than 2 or
    holds anything but letters, digits and hyphens; further where its head is in `NON_OBJECTS`.

    Errors: none; a text without such a sequence gives an empty list.
    Differs from the paper: MFPO does not say how candidates are found; this is Boudin's way
    (assumed). An adjective that ends a noun phrase ("a red cherry and ...": the tagger takes cherry
    for an adjective) is read as the noun that it must be.
    """
    found: dict[tuple[str, ...], Phrase] = {}
    for start, tokens in _sequences(_tagged(text)):
        phrase = _phrase(start, tokens)
        if phrase is None:
            continue
        first = found.get(phrase.stems, phrase)
        positions = (*first.positions, start) if phrase.stems in found else (start,)
        found[phrase.stems] = Phrase(first.text, positions, first.stems, first.noun)
    return list(found.values())


@cache
def _textblob() -> Any:
    """TextBlob with its lexicon loaded; the library leaves the files open, which warns once."""
    import textblob
    from textblob.en.taggers import PatternTagger

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        PatternTagger().tag("A loaded lexicon.")
    return textblob


def _tagged(text: str) -> list[Token]:
    """Words and tags by TextBlob's PatternTagger, with adjectives mended that must be nouns."""
    _textblob()
    from textblob.en.taggers import PatternTagger

    # Capitals make a name of any word: "Big dogs ...".
    plain = _SENTENCE_START.sub(lambda match: match[0].lower(), text)
    tokens: list[Token] = PatternTagger().tag(plain)
    for index, (word, _) in enumerate(tokens):
        if _must_be_noun(tokens, index):
            tokens[index] = (word, "NN")
    return tokens


def _must_be_noun(tokens: Sequence[Token], index: int) -> bool:
    """Whether a run of adjectives after a determiner ends here and no noun follows it."""
    if tokens[index][1] not in _ADJECTIVES:
        return False
    start = index
    while start and tokens[start - 1][1] in _ADJECTIVES:
        start -= 1
    after = [tag for _, tag in tokens[index + 1 : index + 3]] or ["."]
    # "a red and white cat", "a large, wooden table": the noun comes later.
    goes_on = after[0] in (",", "CC") and after[1:] and after[1] in _ADJECTIVES
    return bool(start) and tokens[start - 1][1] == "DT" and after[0] in _CLOSERS and not goes_on


def _sequences(tokens: Sequence[Token]) -> Iterator[tuple[int, list[Token]]]:
    """Position and tokens of every longest `adjective* noun+`."""
    letters = "".join(
        "a" if tag in _ADJECTIVES else "n" if tag in _NOUNS else "." for _, tag in tokens
    )
    for match in re.finditer(r"a*n+", letters):
        yield match.start(), list(tokens[match.start() : match.end()])


def _phrase(start: int, tokens: Sequence[Token]) -> Phrase | None:
    """The phrase, or None if it is no candidate."""
    words = [word.lower() for word, _ in tokens]
    text = " ".join(words)
    if len(text) < _MIN_LENGTH or not all(_WORD.fullmatch(word) for word in words):
        return None
    nouns = [word for word, (_, tag) in zip(words, tokens, strict=True) if tag in _NOUNS]
    word = _textblob().Word
    if tokens[-1][1] in ("NNS", "NNPS"):
        nouns[-1] = str(word(nouns[-1]).singularize())
    if nouns[-1] in NON_OBJECTS:
        return None
    noun = " ".join(noun for noun in nouns if noun not in COLOR_WORDS)
    return Phrase(text, (start,), tuple(word(w).stem() for w in words), noun)
