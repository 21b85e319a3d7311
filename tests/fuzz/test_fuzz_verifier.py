"""The verifier answers whatever it is given, always the same, and soon."""

import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mbpo_core.data.closed_ended import detect_closed_ended
from mbpo_core.responses import RefusalRules, longest_run, refuse, repetition_share
from mbpo_core.rewards import UNPARSED, verify
from tests.fuzz.strategies import texts

FEW = settings(
    max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
options = st.lists(texts, min_size=1, max_size=6).map(
    lambda said: tuple(zip(LETTERS, said, strict=False))
)


def graded(completion, kind, answer, listed):
    verdict = verify(completion, kind, answer, listed)
    assert verdict == verify(completion, kind, answer, listed)
    assert verdict.reward in (0.0, 1.0)
    assert verdict.reward == float(verdict.extracted == answer)
    assert (verdict.extracted is None) == (verdict.rule in UNPARSED)
    return verdict


@FEW
@given(texts, options, st.sampled_from(["yes", "no"]))
def test_fuzz_verdicts(completion, listed, gold):
    for kind, answer in (("yes_no", gold), ("multiple_choice", listed[-1][0])):
        verdict = graded(completion, kind, answer, listed)
        possible = ["yes", "no"] if kind == "yes_no" else [letter for letter, _ in listed]
        assert verdict.extracted is None or verdict.extracted in possible
        if not completion.strip():
            assert (verdict.extracted, verdict.rule) == (None, "empty")


@FEW
@given(texts, texts, st.booleans())
def test_fuzz_closed_ended(question, answer, long_yes_no):
    found = detect_closed_ended(question, answer, long_yes_no=long_yes_no)
    assert found == detect_closed_ended(question, answer, long_yes_no=long_yes_no)
    if found is not None:  # the gold answer of a sample is right
        assert graded(answer, found.kind, found.answer, found.options).reward == 1.0


@FEW
@given(texts, texts)
def test_fuzz_refusals(text, chosen):
    reason = refuse(text, chosen, RefusalRules())
    assert reason == refuse(text, chosen, RefusalRules())
    assert 0 <= repetition_share(text) <= 1
    assert longest_run(text) >= 1


KNOWN = [" ", "ﷺ", ",", "A, "]
"""What once took time by the square of its length, or is near to it."""
PIECES = [
    "a", "\n", "\t", ".", ", ", ". ", "A", "A ", "A. ", "(A) ", "(", ")", "'", "*", "no ", "yes ",
    "not ", "n't ", "so ", "so, ", "is ", "answer ", "answer: ", "answer is ", "or ", "or b ",
    "A or ", "<think>", "</think>", "<answer>", "</answer>", "\\boxed{", "\\text{", "{", "}", "# ",
    "- ", "…", "⩴", "é", "yes or no ", "A.\n", "(A) a\n", "A: b ", "<image>",
]  # fmt: skip
LONG = 100_000
_letters = random.Random(0).choices("abcdefghijklmnop\u0301", k=LONG)


@pytest.mark.parametrize(
    "piece", [*KNOWN, *(pytest.param(piece, marks=pytest.mark.slow) for piece in PIECES)], ids=ascii
)
def test_a_hundred_thousand_characters_take_no_time(piece):
    check_time(piece * (LONG // len(piece)) + "x")


def test_a_word_of_a_hundred_thousand_letters_takes_no_time():
    check_time("".join(_letters))


def check_time(text):
    """No pattern may look at a text again and again: length squared would be minutes."""
    short = text[:10_000]
    listed = (("A", "red"), ("B", text))
    for run in (
        lambda: verify(short, "yes_no", "yes"),
        lambda: verify(short, "multiple_choice", "A", listed),
        lambda: detect_closed_ended(text, "A"),
        lambda: detect_closed_ended(f"A. x\nB. y{text}", short),
        lambda: refuse(text, "no", RefusalRules(max_repetition=1.0, max_run=2**31)),
        lambda: longest_run(short[:4000]),
    ):
        started = time.process_time()
        run()
        assert time.process_time() - started < 2.0
