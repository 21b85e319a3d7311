"""What stands for a word: pattern.en's singulars, WordNet's lemmas, and errors without data."""

import subprocess
import sys
import textwrap

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from textblob.en import inflect

from mbpo_core.evaluation import lemmatisers
from mbpo_core.evaluation.lemmatisers import (
    NounLemmas,
    PatternSingulars,
    TaggedLemmas,
    pattern_singular,
)
from mbpo_core.evaluation.nltk_words import lemma, tags, tokens


@pytest.mark.parametrize(
    ("word", "singular"),
    [
        ("dogs", "dog"), ("people", "person"), ("men", "man"), ("knives", "knife"),
        ("bus", "bu"), ("buses", "bus"), ("skis", "ski"), ("tennis", "tenni"), ("glass", "glas"),
        ("glasses", "glass"), ("scissors", "scissors"), ("sheep", "sheep"), ("", ""),
        ("mothers-in-law", "mother-in-law"), ("dogs'", "dog's"), ("s", "s"),
    ],
)  # fmt: skip
def test_pattern_takes_every_word_for_a_plural(word, singular):
    assert pattern_singular(word) == singular


@pytest.mark.parametrize(
    ("word", "pattern", "port"),
    [("collies", "collies", "collie"), ("doggies", "doggies", "doggie"),
     ("airbuses", "airbus", "bus"), ("jeans", "jean", "jeans")],
)  # fmt: skip
def test_where_the_port_departs_from_pattern_pattern_is_followed(word, pattern, port):
    assert inflect.singularize(word) == port
    assert pattern_singular(word) == pattern


LISTED = (
    lemmatisers._NOT_PATTERNS_UNINFLECTED | lemmatisers._NOT_PATTERNS_UNCOUNTABLE
    | lemmatisers._NOT_PATTERNS_IRREGULAR | set(lemmatisers._PATTERNS_UNINFLECTED)
)  # fmt: skip
IN_IE = (*inflect.singular_ie, *lemmatisers._PATTERNS_IE)
WORDS = st.text(alphabet="aeioubcdfghlmnprstvxyz'-", max_size=12)


@given(st.one_of(WORDS, st.sampled_from(sorted(inflect.singular_irregular))))
def test_elsewhere_pattern_and_its_port_are_one(word):
    assume(not any(listed.endswith(w) or w.endswith(listed) for listed in LISTED
                   for w in (word, word.rstrip("'"), word.split("-")[0])))  # fmt: skip
    changed = [f"{w}s" for w in IN_IE] + [f"{w}es" for w in inflect.singular_s]
    assume(not any(part.endswith(tuple(changed)) for part in (word.rstrip("'"), word.split("-")[0])))
    assert pattern_singular(word) == inflect.singularize(word)


def test_tagged_lemmas_know_verbs_and_noun_lemmas_do_not(nltk_data):
    words = tokens("the man was sitting near two buses.")
    assert TaggedLemmas()(words) == ["the", "man", "be", "sit", "near", "two", "bus", "."]
    assert NounLemmas()(words) == ["the", "man", "wa", "sitting", "near", "two", "bus", "."]
    assert PatternSingulars()(["the", "bus"]) == ["the", "bu"]
    assert len({TaggedLemmas().name, NounLemmas().name, PatternSingulars().name}) == 3


def test_a_lemma_is_the_shortest_one_of_its_part_of_speech(nltk_data):
    assert lemma("us") == "u"  # as NLTK's own documentation has it
    assert lemma("better", "a") == "good"
    assert lemma("zzzs") == "zzzs"
    assert lemma("Dogs") == "Dogs"
    assert tags([]) == []


def test_files_that_no_lemma_depends_on_are_not_needed(nltk_data):
    """Debian's package has neither, and NLTK's own reader will not start without them."""
    assert lemma("oxen") == "ox"
    assert not (nltk_data / "corpora" / "wordnet" / "lexnames").exists()


SCRIPT = """
import sys, nltk
nltk.data.path[:] = sys.argv[2:]
from mbpo_core.evaluation import nltk_words
try:
    {"tokens": lambda: nltk_words.tokens("a dog"), "tags": lambda: nltk_words.tags(["a"]),
     "lemma": lambda: nltk_words.lemma("dogs")}[sys.argv[1]]()
except nltk_words.BenchmarkError as error:
    print(error)
else:
    print("found")
"""


def without_data(call, *paths):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(SCRIPT), call, *map(str, paths)],
                          capture_output=True, text=True, check=True)  # fmt: skip
    return done.stdout


@pytest.mark.parametrize(
    ("call", "missing", "cure"),
    [("tokens", "tokenizers/punkt_tab", "nltk.downloader punkt_tab"),
     ("tags", "taggers/averaged_perceptron_tagger_eng", "averaged_perceptron_tagger_eng"),
     ("lemma", "corpora/wordnet", "wordnet-base")],
)  # fmt: skip
def test_an_error_says_what_is_missing_and_how_to_get_it(call, missing, cure, tmp_path):
    said = without_data(call, tmp_path)
    assert missing in said
    assert cure in said


def test_a_link_out_of_the_folders_of_nltk_gets_an_error_that_says_so(nltk_data, tmp_path):
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "wordnet").symlink_to("/usr/share/wordnet")
    assert "a link out of the folders" in without_data("lemma", tmp_path)
    assert without_data("lemma", nltk_data) == "found\n"


def test_without_textblob_there_is_no_pattern_variant(monkeypatch):
    lemmatisers._tables.cache_clear()
    pattern_singular.cache_clear()
    monkeypatch.setitem(sys.modules, "textblob.en", None)
    with pytest.raises(lemmatisers.BenchmarkError, match="TextBlob"):
        PatternSingulars()(["dogs"])
