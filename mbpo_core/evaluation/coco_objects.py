"""Which of COCO's 80 objects a caption names (CHAIR, Rohrbach et al. 2018, arXiv 1809.02156).

Words are lemmatised, two words that name one thing are joined, and what then stands in a list of
synonyms counts as a mention of the object that heads its line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mbpo_core.evaluation.lemmatisers import Lemmatiser
from mbpo_core.evaluation.nltk_words import tokens
from mbpo_core.evaluation.protocol import BenchmarkError, SourceFile

_PAIRS = (
    "motor bike", "motor cycle", "air plane", "traffic light", "street light", "traffic signal",
    "stop light", "fire hydrant", "stop sign", "parking meter", "suit case", "sports ball",
    "baseball bat", "baseball glove", "tennis racket", "wine glass", "hot dog", "cell phone",
    "mobile phone", "teddy bear", "hair drier", "potted plant", "bow tie", "laptop computer",
    "stove top oven", "home plate", "train track",
)  # fmt: skip
"""Words that CHAIR reads as one; "home plate" and "train track" are then no object at all."""
_ANIMALS = (
    "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe",
    "animal", "cub",
)  # fmt: skip
_VEHICLES = ("jet", "train")


@dataclass(frozen=True)
class Vocabulary:
    """Words for objects."""

    nodes: Mapping[str, str]
    """Word to the name of its object."""
    pairs: Mapping[str, str]
    """Two words with a space between to the word that they are read as."""


@dataclass(frozen=True)
class Mentions:
    """Objects of one caption in the order of mention, with repeats."""

    words: list[str]
    """Lemmas that stand in the list of synonyms."""
    nodes: list[str]
    """Their objects."""
    length: int
    """Tokens of the caption, punctuation too, joined pairs as one."""


def classic_vocabulary(synonyms: str) -> Vocabulary:
    """Return the vocabulary of CHAIR's own script from its `synonyms.txt`.

    Two words stand there behind two spaces (" motor bike", " cheesecake"); the official script
    keeps the second one, so that they never match, and so does this.
    """
    nodes = _nodes([line.strip().split(", ") for line in synonyms.splitlines()])
    return Vocabulary(nodes, _pairs(_PAIRS))


def refined_vocabulary(synonyms: str) -> Vocabulary:
    """Return the vocabulary of Object HalBench from its `synonyms_refine.txt`.

    There spaces around a word do not count, and every word of the list that has a space in it is
    a pair (RLAIF-V, `eval/eval_gpt_obj_halbench.py`).
    """
    lines = [[w.strip() for w in line.strip().split(", ")] for line in synonyms.splitlines()]
    nodes = _nodes(lines)
    pairs = [word for word in nodes if " " in word]
    return Vocabulary(nodes, _pairs([*pairs, "home plate", "train track"]))


def _nodes(lines: Sequence[Sequence[str]]) -> dict[str, str]:
    return {word: line[0] for line in lines for word in line if word}


def _pairs(doubles: Sequence[str]) -> dict[str, str]:
    """Return pairs; a "baby bird" is no person but a bird, a "passenger jet" a jet."""
    pairs = {double: double for double in doubles}
    pairs |= {f"{age} {animal}": animal for animal in _ANIMALS for age in ("baby", "adult")}
    pairs |= {f"passenger {vehicle}": vehicle for vehicle in _VEHICLES}
    # "wine glas" is what pattern's singularize leaves of a wine glass.
    return pairs | {"bow tie": "tie", "toilet seat": "toilet", "wine glas": "wine glass"}


def synonyms_of(files: Sequence[SourceFile], benchmark: str, published: str) -> str:
    """Return the text of the file of synonyms.

    Raises:
        BenchmarkError: none or several, or one without a line of several words.
    """
    texts = [f for f in files if isinstance(f.content, str) and "synonym" in f.name.lower()]
    if len(texts) != 1:
        raise BenchmarkError(
            f"{benchmark} needs one {published} (an object a line: its name, then other words for "
            f"it, with ', ' between), got {', '.join(f.name for f in texts) or 'none'}"
        )
    if ", " not in texts[0].content:
        raise BenchmarkError(f"{texts[0].name} has no line 'object, other word, other word'")
    return texts[0].content


def mentions(caption: str, vocabulary: Vocabulary, lemmatiser: Lemmatiser) -> Mentions:
    """Return the objects that a caption names.

    Raises:
        BenchmarkError: data of the lemmatiser or the tokeniser is missing.
    """
    words = joined(lemmatiser(tokens(caption.lower())), vocabulary)
    found = in_vocabulary(words, vocabulary)
    return Mentions(found, [vocabulary.nodes[word] for word in found], len(words))


def joined(words: Sequence[str], vocabulary: Vocabulary, *, only: bool = False) -> list[str]:
    """Return the words with each pair replaced by what it is read as, from left to right.

    Args:
        words: lemmas.
        vocabulary: with the pairs.
        only: leave out what is in no pair.
    """
    found = []
    place = 0
    while place < len(words):
        pair = vocabulary.pairs.get(" ".join(words[place : place + 2]))
        if pair is not None or not only:
            found.append(words[place] if pair is None else pair)
        place += 1 if pair is None else 2
    return found


def in_vocabulary(words: Sequence[str], vocabulary: Vocabulary) -> list[str]:
    """Return the words that name an object; the seat of a toilet is no chair."""
    if "toilet" in words:
        words = [word for word in words if word != "seat"]
    return [word for word in words if word in vocabulary.nodes]
