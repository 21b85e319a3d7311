"""Each rule against cases that follow from its definition; the rules disagree on purpose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.data.choices import extract_choice
from mbpo_core.evaluation import choice_rules as rules
from mbpo_core.evaluation import multiple_choice
from mbpo_core.rewards import verify

OPTIONS = (("A", "a cat"), ("B", "two dogs"), ("C", "a bus"))
RULES = [rules.ai2d, rules.mmstar, rules.scienceqa, rules.vlmevalkit, multiple_choice.rule]


@pytest.mark.parametrize(
    ("response", "ai2d", "mmstar", "scienceqa", "vlmevalkit"),
    [
        ("B", "B", "B", "B", "B"),
        ("b", "B", "B", None, None),
        (" B ", "B", "B", None, "B"),
        ("B.", "B", "B", None, "B"),
        ("(B)", "B", "B", None, "B"),
        ("B. two dogs", "B", "B", "B", "B"),
        ("B) two dogs", None, "B", None, "B"),
        ("two dogs", None, None, None, "B"),
        ("The answer is B.", None, "B", "B", "B"),
        ("The answer is B", None, "B", None, "B"),
        ("the answer is b", None, "B", None, "B"),
        ("Option B", None, "B", None, "B"),
        ("A dog", None, "A", None, "A"),
        ("A. The answer is B.", "A", "A", "A", "B"),
        ("The answer is A. The answer is B.", None, "A", None, "A"),
        ("bus", None, "B", None, None),
        ("Not A but B", None, None, None, None),
        ("D", "D", None, None, None),
        ("", None, None, None, None),
    ],
)
def test_the_rules_differ(response, ai2d, mmstar, scienceqa, vlmevalkit):
    found = [rule(response, OPTIONS)[0] for rule in RULES[:-1]]
    assert found == [ai2d, mmstar, scienceqa, vlmevalkit]


@given(st.text(alphabet="ABCZabc .()\nxThe answrio*İ", max_size=40), st.sampled_from(RULES))
def test_a_letter_or_the_reason_for_none_and_never_an_error(response, rule):
    letter, why = rule(response, OPTIONS)
    assert why and (letter is None or (len(letter) == 1 and letter.isupper()))
    if rule is not rules.ai2d:  # its whole answer may be any letter
        assert letter in (None, "A", "B", "C")


@pytest.mark.parametrize(
    ("response", "letter", "rule"),
    [
        ("B and then many more words", None, "unparseable"),  # not among the last four words
        ("one two three B four five six", "B", "only_letter"),
        ("I say the answer is a dog", "A", "answer_is"),  # any case, as in the official regex
        ("A or B, but the correct answer is **B**", "B", "answer_is"),
        ("Z", None, "refused"), ("Cannot determine the answer", None, "refused"),
        ("Failed to obtain answer via API: B", None, "unparseable"),
        ("A cat and dogs", "A", "only_letter"), ("two dogs, no: a cat", None, "unparseable"),
        ("A cat and two dogs", None, "unparseable"),
        ("two dogs" + " and so on" * 9, None, "unparseable"),  # more than twice all options
    ],
)  # fmt: skip
def test_vlmevalkits_rule_in_detail(response, letter, rule):
    assert rules.vlmevalkit(response, OPTIONS) == (letter, rule)


@given(st.integers(0, 6), st.integers(0, 6))
def test_a_letter_must_first_stand_among_the_last_four_words(before, after):
    options = (("A", "p"), ("B", "q"), ("C", "r"))
    response = " ".join(["x"] * before + ["C"] + ["x"] * after)
    assert rules.vlmevalkit(response, options)[0] == ("C" if after < 4 else None)
    # A second one does not help: it is looked for from the left.
    assert rules.vlmevalkit(response + " C", options)[0] == ("C" if after < 3 else None)


def test_a_text_counts_in_answers_at_most_twice_as_long_as_all_options():
    longest = 2 * sum(len(text) for _, text in OPTIONS)
    assert rules.vlmevalkit("two dogs".ljust(longest, "."), OPTIONS) == ("B", "only_text")
    assert rules.vlmevalkit("two dogs".ljust(longest + 1, "."), OPTIONS)[0] is None


def test_scienceqa_knows_letters_with_an_option_only():
    assert rules.scienceqa("C", OPTIONS[:2]) == (None, "unknown_option")
    assert rules.scienceqa("The answer is F.", OPTIONS) == (None, "unknown_option")
    assert rules.scienceqa("", OPTIONS) == (None, "empty")


@given(st.text(max_size=30), st.sampled_from("ABC"))
def test_the_projects_own_rule_is_the_verifiers(response, gold):
    letter, rule = multiple_choice.rule(response, OPTIONS)
    verdict = verify(response, "multiple_choice", gold, OPTIONS)
    assert (letter, rule) == (verdict.extracted, verdict.rule) == extract_choice(response, OPTIONS)
    assert verdict.reward == float(letter == gold)
