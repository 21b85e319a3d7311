"""Lemmas and tags of a phrase, by spaCy as Object HalBench's script has it or by NLTK instead."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from mbpo_core.evaluation.lemmatisers import TaggedLemmas
from mbpo_core.evaluation.nltk_words import tags, tokens
from mbpo_core.evaluation.protocol import BenchmarkError

Tagged = list[tuple[str, str]]
"""Lemma and Penn Treebank tag of each token."""


class Tagger(Protocol):
    """Tags a phrase."""

    @property
    def name(self) -> str:
        """Goes into the results."""

    def __call__(self, text: str) -> Tagged:
        """Return lemma and tag of each token.

        Raises:
            BenchmarkError: its library or model is missing.
        """


@dataclass(frozen=True)
class SpacyTagger:
    """spaCy with a model that is installed beside it; the official one by default."""

    model: str = "en_core_web_trf"

    @property
    def name(self) -> str:
        """The model says which numbers these are."""
        return f"spacy:{self.model}"

    def __call__(self, text: str) -> Tagged:
        """Return lemma and tag of each token."""
        return [(token.lemma_, token.tag_) for token in _pipeline(self.model)(text)]


@dataclass(frozen=True)
class NltkTagger:
    """NLTK's tagger and WordNet's lemmas; not the official one, but without a model to download."""

    name: str = "nltk"

    def __call__(self, text: str) -> Tagged:
        """Return lemma and tag of each token."""
        words = tokens(text)
        return list(zip(TaggedLemmas()(words), tags(words), strict=True))


@lru_cache(maxsize=2)
def _pipeline(model: str) -> Any:
    try:
        import spacy
    except ImportError as error:
        raise BenchmarkError(
            f"the judge's objects are tagged by spaCy with {model}: pip install spacy, and the "
            "model; or take the variant whose name says nltk"
        ) from error
    try:
        return spacy.load(model)
    except OSError as error:
        raise BenchmarkError(
            f"spaCy lacks the model {model}: python -m spacy download {model}; or take the "
            "variant whose name says nltk"
        ) from error
