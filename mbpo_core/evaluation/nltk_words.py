"""Tokens, part-of-speech tags and WordNet lemmas by NLTK, with an error that says what is missing.

NLTK brings no data. Three pieces are needed, each in a folder of `NLTK_DATA`:
`tokenizers/punkt_tab`, `taggers/averaged_perceptron_tagger_eng` and `corpora/wordnet` (WordNet 3.0;
the `dict` folder of any distribution of it will do). Another version of one of them gives other
words and so other figures; none is ever replaced by something else.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from mbpo_core.evaluation.protocol import BenchmarkError

WORDNET = "corpora/wordnet"
_HELP = {
    "tokenizers/punkt_tab": "python -m nltk.downloader punkt_tab",
    "taggers/averaged_perceptron_tagger_eng": (
        "python -m nltk.downloader averaged_perceptron_tagger_eng"
    ),
    WORDNET: (
        "python -m nltk.downloader wordnet, or Debian's package wordnet-base, whose "
        "/usr/share/wordnet is to be copied to corpora/wordnet of a folder that NLTK_DATA names"
    ),
}


def tokens(text: str) -> list[str]:
    """Return the tokens of a text: sentences by Punkt, words as in the Penn Treebank.

    Raises:
        BenchmarkError: NLTK or its Punkt data is missing.
    """
    nltk = _needs("tokenizers/punkt_tab/english")
    return nltk.word_tokenize(text)


def tags(words: Sequence[str]) -> list[str]:
    """Return the Penn Treebank tag of each word, by NLTK's averaged perceptron.

    Raises:
        BenchmarkError: NLTK or the tagger's weights are missing.
    """
    nltk = _needs("taggers/averaged_perceptron_tagger_eng")
    return [tag for _, tag in nltk.pos_tag(list(words))]


def lemma(word: str, pos: str = "n") -> str:
    """Return what NLTK's `WordNetLemmatizer` makes of a word: the shortest lemma, else the word.

    Args:
        word: as it stands; WordNet's lemmas are in lower case.
        pos: n, v, a or r.

    Raises:
        BenchmarkError: NLTK or WordNet is missing.
    """
    return min(_wordnet()._morphy(word, pos), key=len, default=word)


@lru_cache(maxsize=8)
def _needs(resource: str) -> Any:
    """Return NLTK, once it is known to have the resource."""
    nltk = _nltk()
    try:
        nltk.data.find(resource)
    except (LookupError, OSError) as error:
        raise _missing(resource, error) from error
    return nltk


def _nltk() -> Any:
    try:
        import nltk
    except ImportError as error:
        raise BenchmarkError(
            "the words of a caption are found by NLTK: pip install nltk"
        ) from error
    return nltk


@lru_cache(maxsize=1)
def _wordnet() -> Any:
    """Return a reader of WordNet for its lemmas only.

    NLTK's own asks besides for `lexnames` and `index.sense`, of which no lemma depends and which
    Debian's `wordnet-base` leaves out.
    """
    nltk = _nltk()
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class Lemmas(WordNetCorpusReader):
        def open(self, file: str) -> Any:
            return io.StringIO() if file == "lexnames" else super().open(file)

        def map_wn(self, version: str = "wordnet") -> None:
            """Map no offsets: they serve other languages."""

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The multilingual functions")
            return Lemmas(_root(nltk), None)
    except (LookupError, OSError) as error:
        raise _missing(WORDNET, error) from error


def _root(nltk: Any) -> Any:
    """Return the folder, or the archive that NLTK's downloader leaves unopened."""
    try:
        return nltk.data.find(WORDNET)
    except LookupError:
        return nltk.data.find(f"{WORDNET}.zip/wordnet/")


def _missing(resource: str, error: Exception) -> BenchmarkError:
    help_ = next(text for name, text in _HELP.items() if resource.startswith(name))
    if isinstance(error, LookupError):
        return BenchmarkError(f"NLTK's data lacks {resource}: {help_}")
    return BenchmarkError(
        f"NLTK cannot read {resource} ({error}): {help_}; a link out of the folders that NLTK_DATA "
        "names is refused by NLTK"
    )
