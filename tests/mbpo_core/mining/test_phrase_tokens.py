from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbpo_core.mining.phrase_tokens import phrase_tokens
from mbpo_core.models.preprocessing import ImageConfig
from mbpo_core.models.qwen_vl import QwenVL
from tests.mbpo_core.tiny_models import build_model, build_tokenizer


@cache
def byte_policy():
    """Its tokens are bytes, but for " a", "th", " th", "re" and " re"."""
    tokenizer = build_tokenizer()
    return QwenVL(build_model("qwen2_vl", tokenizer), tokenizer, ImageConfig())


def said(text, phrase, policy=None):
    """The text of the tokens that say the phrase."""
    policy = policy or byte_policy()
    ids = policy.response_ids(text)
    found = phrase_tokens(policy, ids, phrase)
    return None if found is None else policy.decode(ids[found.start : found.stop])


@pytest.mark.parametrize(
    ("text", "phrase", "expected"),
    [
        ("a red bird", "bird", "bird"),
        ("a red bird", "red", " red"),  # its first token says the space too
        ("A Red Bird.", "red bird", "Red Bird"),
        ("a red\n  bird", "red bird", " red\n  bird"),
        ("two birds", "bird", "birds"),
        ("two boxes", "box", "boxes"),
        ("birdsong, a bird", "bird", "bird"),
        ("a bird and a bird", "bird", "bird"),
        ("Bird", "bird", "Bird"),
        ("t-shirt (blue)", "(blue)", "(blue)"),
        ("two three", "three", " three"),
        ("éa café.", "café", "café"),
        ("naïveté", "NAÏVETÉ", "naïveté"),
        ("a 🦜 there", "🦜", "🦜"),
    ],
)
def test_finds_the_tokens_of_a_phrase(text, phrase, expected):
    assert said(text, phrase) == expected


@pytest.mark.parametrize("phrase", ["dog", "bir", "ird", "red  bird a", "", "  ", "<|im_end|>"])
def test_none_where_it_is_not_said(phrase):
    assert said("a red bird", phrase) is None


def test_the_first_mention_counts_and_the_end_token_never_does():
    ids = byte_policy().response_ids("bird bird")
    assert phrase_tokens(byte_policy(), ids, "bird") == range(4)
    assert phrase_tokens(byte_policy(), ids, "bird bird") == range(len(ids) - 1)


def test_all_tokens_of_a_spread_character_are_taken():
    ids = byte_policy().response_ids("a 🦜")
    assert len(ids) == len(byte_policy().response_ids("a ")) + 4
    assert phrase_tokens(byte_policy(), ids, "🦜") == range(2, 6)


def test_a_token_of_a_space_and_half_a_character_belongs_to_the_phrase():
    class Halves:
        """Tokens of bytes as larger vocabularies have them."""

        def decode(self, ids):
            return b"".join(ids).decode(errors="replace")

    ids = [b"the", b" \xc3", b"\xa9t\xc3", b"\xa9 is"]
    assert phrase_tokens(Halves(), ids, "été") == range(1, 4)
    assert phrase_tokens(Halves(), ids, "is") == range(3, 4)


# Without what the end of a plural or half a character may be taken for.
LETTERS = st.characters(codec="utf-8", exclude_characters="<sSſ\ufffd")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(LETTERS, min_size=1, max_size=6), min_size=1, max_size=5), st.data())
def test_the_tokens_of_any_word_say_it_and_none_can_be_spared(parts, data):
    policy, text = byte_policy(), " ".join([*parts, "end"])
    phrase = data.draw(st.sampled_from(text.split()))
    ids = policy.response_ids(text)
    found = phrase_tokens(policy, ids, phrase)
    assert 0 <= found.start < found.stop <= len(ids) - 1

    def says(begin, end):
        return phrase.casefold() in policy.decode(ids[begin:end]).casefold()

    assert says(found.start, found.stop)
    assert not says(found.start + 1, found.stop)
    assert not says(found.start, found.stop - 1)


def test_the_published_vocabulary(genuine_tokenizer):
    policy = QwenVL(build_model("qwen2_vl", genuine_tokenizer), genuine_tokenizer, ImageConfig())
    text = "Two surfboards lean on the café's wall; 漢字 and a 🦜 are painted on it."
    assert said(text, "surfboard", policy) == " surfboards"
    assert said(text, "café", policy) == " café"
    assert "漢字" in said(text, "漢字", policy)
    assert said(text, "🦜", policy).strip() == "🦜"
    assert said(text, "two", policy) == "Two"
