"""Which singular or lemma stands for a word of a caption: what CHAIR's implementations differ in.

On eleven published files of captions WordNet's lemmas and `pattern`'s singulars give CHAIR_S that
differ by up to 1.1 points, so that figures are only compared within one lemmatiser, and its name
goes into every result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from mbpo_core.evaluation.nltk_words import lemma, tags
from mbpo_core.evaluation.protocol import BenchmarkError

WORDNET_POS = {"J": "a", "V": "v", "N": "n", "R": "r"}
"""By the first letter of a Penn Treebank tag; any other is taken for a noun."""
_NOT_PATTERNS_UNINFLECTED = {"aircraft", "antelope", "cattle", "jeans", "moose", "offspring"}
_PATTERNS_UNINFLECTED = ("christmas",)
_NOT_PATTERNS_UNCOUNTABLE = {"cannabis"}
_NOT_PATTERNS_IE = {"algerie", "bookie"}
_PATTERNS_IE = ("alergie", "newbie")
_NOT_PATTERNS_IRREGULAR = {"lynxes"}
"""Words by which TextBlob's tables differ from those of pattern.en."""


class Lemmatiser(Protocol):
    """The words of one text in lower case, tokenised, to their singulars or lemmas."""

    @property
    def name(self) -> str:
        """Goes into the results."""

    def __call__(self, words: Sequence[str]) -> list[str]:
        """Return one lemma for each word.

        Raises:
            BenchmarkError: its data or library is missing.
        """


@dataclass(frozen=True)
class TaggedLemmas:
    """WordNet's lemma for the part of speech that NLTK's tagger gives a word.

    As in the CHAIR script of OPERA (Huang et al. 2024) and of "Less is more" (Yue et al. 2024),
    which lmms-eval repeats.
    """

    name: str = "lemma"

    def __call__(self, words: Sequence[str]) -> list[str]:
        """Return a lemma for each word; what is no adjective, verb or adverb is a noun."""
        tagged = zip(words, tags(words), strict=True)
        return [lemma(word, WORDNET_POS.get(tag[:1], "n")) for word, tag in tagged]


@dataclass(frozen=True)
class NounLemmas:
    """WordNet's lemma of every word as a noun, as in RLAIF-V's script for Object HalBench."""

    name: str = "noun-lemma"

    def __call__(self, words: Sequence[str]) -> list[str]:
        """Return a lemma for each word."""
        return [lemma(word) for word in words]


@dataclass(frozen=True)
class PatternSingulars:
    """The singular of pattern.en, as in the original CHAIR script (Rohrbach et al. 2018).

    It takes every word for a noun: "bus" becomes "bu", "skis" "ski", "tennis" "tenni".
    """

    name: str = "pattern"

    def __call__(self, words: Sequence[str]) -> list[str]:
        """Return the singular of each word."""
        return [pattern_singular(word) for word in words]


@lru_cache(maxsize=1)
def _tables() -> Any:
    """The tables of pattern.en's `singularize`, out of TextBlob, which carries them on."""
    try:
        from textblob.en import inflect
    except ImportError as error:
        raise BenchmarkError(
            "the pattern lemmatiser needs TextBlob: pip install textblob"
        ) from error
    unchanged = [w for w in inflect.singular_uninflected if w not in _NOT_PATTERNS_UNINFLECTED]
    unchanged += _PATTERNS_UNINFLECTED
    unchanged += [w for w in inflect.singular_uncountable if w not in _NOT_PATTERNS_UNCOUNTABLE]
    in_ie = [w for w in inflect.singular_ie if w not in _NOT_PATTERNS_IE] + list(_PATTERNS_IE)
    irregular = {
        w: s for w, s in inflect.singular_irregular.items() if w not in _NOT_PATTERNS_IRREGULAR
    }
    return unchanged, in_ie, irregular, inflect.singular_rules, set(inflect.plural_prepositions)


@lru_cache(maxsize=100_000)
def pattern_singular(word: str) -> str:
    """Return the singular of a word as pattern.en (3.x) gives it.

    TextBlob's own function departs from it: there "collies" is "collie" and "airbuses" is "bus",
    where pattern leaves the one and says "airbus" for the other. Both are words of CHAIR's list.

    Raises:
        BenchmarkError: TextBlob is missing.
    """
    unchanged, in_ie, irregular, rules, prepositions = _tables()
    first, *rest = word.split("-")
    if rest and rest[0] in prepositions:  # mothers-in-law
        return "-".join([pattern_singular(first), *rest])
    if word.endswith("'"):
        return pattern_singular(word[:-1]) + "'s"
    lower = word.lower()
    if any(w.endswith(lower) for w in unchanged):
        return word
    if any(lower.endswith(f"{w}s") for w in in_ie):
        return lower
    for plural, singular in irregular.items():
        if lower.endswith(plural):
            return re.sub(f"(?i){plural}$", singular, word)
    for ending, replacement in rules:
        if match := ending.search(word):
            for group, found in enumerate(match.groups(), start=1):
                if found is None:
                    replacement = replacement.replace(f"\\{group}", "")
            return ending.sub(replacement, word)
    return word
