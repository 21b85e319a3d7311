import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbpo_core.data.answers import MAX_CHARACTERS
from mbpo_core.rewards import UNPARSED, Verdict, verify

PETS = (("A", "cat"), ("B", "dog"), ("C", "two dogs"), ("D", "a rabbit"))
FRUIT = (("A", "yellow"), ("B", "red"))
POLAR = (("A", "no"), ("B", "yes"))
NINE = tuple((letter, f"thing {number}") for number, letter in enumerate("ABCDEFGHI"))
SENTENCES = (
    ("A", "This is a complete sentence."),
    ("B", "The run-on sentence goes on, it has no end."),
)

# Hand-labelled: options, completion, the letter that a careful person reads, or why there is none.
CHOICES = [
    # a letter alone
    (PETS, "B", "B"),
    (PETS, "b", "B"),
    (PETS, "(B)", "B"),
    (PETS, "B.", "B"),
    (PETS, "B)", "B"),
    (PETS, "[b]", "B"),
    (PETS, " B \n", "B"),
    (PETS, "a", "A"),
    (PETS, "A:", "A"),
    (PETS, "Ｂ", "B"),
    (PETS, "（Ｂ）", "B"),
    (PETS, "B、", "B"),
    (PETS, "B。", "B"),
    (PETS, "B!", "B"),
    (PETS, "B;", "B"),
    (PETS, "Ⓑ", "B"),
    (PETS, "\\(\\boxed{\\mathbf{B}}\\)", "B"),
    (PETS, "Final Answer: \\boxed{B. dog}", "B"),
    (PETS, "**Answer:** B", "B"),
    (PETS, "A) cat B) dog C) two dogs D) a rabbit\nAnswer: D", "D"),
    (PETS, "**B**", "B"),
    (PETS, '"B"', "B"),
    (PETS, "'B'", "B"),
    (PETS, "`B`", "B"),
    (PETS, "$\\boxed{B}$", "B"),
    (PETS, "\\boxed{\\text{B}}", "B"),
    (PETS, "$B$", "B"),
    (NINE, "I", "I"),
    # a text alone
    (PETS, "dog", "B"),
    (PETS, "Dog.", "B"),
    (PETS, "a dog", "B"),
    (PETS, "A dog", "B"),
    (PETS, "The dog.", "B"),
    (PETS, "rabbit", "D"),
    (PETS, "A rabbit", "D"),
    (PETS, "two dogs", "C"),
    (POLAR, "yes", "B"),
    (POLAR, "No.", "A"),
    # a letter with its text, or with another's
    (PETS, "(A) a cat", "A"),
    (PETS, "B) dog", "B"),
    (PETS, "B. dog", "B"),
    (PETS, "B: Dog", "B"),
    (PETS, "B dog", "B"),
    (PETS, "B.dog", "B"),
    (PETS, "b) dog", "B"),
    (PETS, "B. cat", "contradictory"),
    (PETS, "B cat", "contradictory"),
    (SENTENCES, "B is the run-on sentence.", "B"),
    (PETS, "B, because it barks.", "B"),
    (PETS, "B\nIt barks.", "B"),
    (PETS, "B - it barks", "B"),
    # stated
    (PETS, "Option **B**", "B"),
    (PETS, "The answer is B.", "B"),
    (PETS, "The correct answer is: (B) dog", "B"),
    (PETS, "The correct option is b", "B"),
    (PETS, "Answer: B", "B"),
    (PETS, "Final answer - B", "B"),
    (PETS, "I would choose B.", "B"),
    (PETS, "I think B.", "B"),
    (PETS, "It's B", "B"),
    (PETS, "The animal barks, so B.", "B"),
    (PETS, "The answer is dog.", "B"),
    (PETS, "The answer is a dog.", "B"),
    (PETS, "The answer is A dog.", "B"),
    (PETS, "选B", "B"),
    (PETS, "答案是B。", "B"),
    (PETS, "答案：Ｂ", "B"),
    (PETS, "<answer>(C) two dogs</answer>", "C"),
    (PETS, "<answer>B</answer>", "B"),
    (PETS, "It purrs. <CONCLUSION>The answer is A.</CONCLUSION>", "A"),
    (PETS, "<think>A? No, C.</think>B", "B"),
    (PETS, "<think>A? No, C.</think><answer>B</answer>", "B"),
    (PETS, "A) cat: it does not purr.\nB) dog: it barks.\nThe answer is B.", "B"),
    (PETS, "Option A is wrong, option B is right", "B"),
    (PETS, "A is wrong. The answer is B.", "B"),
    (PETS, "Clearly (B)", "B"),
    # mentioned
    (PETS, "There are two dogs in the picture.", "C"),
    (PETS, "I see a rabbit", "D"),
    (PETS, "A dog is sleeping on the sofa.", "B"),
    (FRUIT, "The banana is yellow.", "A"),
    (FRUIT, "It looks red to me", "B"),
    ((("A", "3"), ("B", "13")), "There are 13 of them", "B"),
    ((("A", "3"), ("B", "4")), "About 3.5 of them", "unparseable"),
    # two answers
    (PETS, "A, B, C, D", "contradictory"),
    (PETS, "A or B or C", "contradictory"),
    (PETS, "A/B", "contradictory"),
    (PETS, "Both A and B", "unparseable"),
    (PETS, "A\nB\nC\nD", "contradictory"),
    (PETS, "A. cat\nB. dog\nC. two dogs\nD. a rabbit", "contradictory"),
    (PETS, "A. cat B. dog", "contradictory"),
    (PETS, "(A) cat (B) dog", "contradictory"),
    (PETS, "The answer is A or B.", "contradictory"),
    (PETS, "The answer is b or c", "contradictory"),
    (PETS, "A. The answer is B.", "contradictory"),
    (PETS, "The answer is A. The answer is B.", "contradictory"),
    (PETS, "<answer>B</answer> <answer>C</answer>", "contradictory"),
    (PETS, "<answer>B</answer> <answer>B</answer>", "B"),
    (PETS, "\\boxed{A} \\boxed{B}", "contradictory"),
    (PETS, "a cat and a dog", "contradictory"),
    (PETS, "cat or rabbit", "contradictory"),
    (PETS, "The answer is (B) dog or (C) two dogs", "contradictory"),
    (PETS, "The answer is B. dog or C. two dogs", "contradictory"),
    (PETS, "The answer is B, dog, or (C)", "contradictory"),
    (PETS, "B & C", "contradictory"),
    (PETS, "Answer: B, C", "contradictory"),
    (PETS, "A: dog", "contradictory"),
    (PETS, "B. two dogs", "contradictory"),
    # one answer, and others denied
    (PETS, "The answer is B, not A.", "B"),
    (PETS, "The correct answer is B) dog, not A) cat.", "B"),
    (PETS, "The animal is a dog (option B), not a cat (option A).", "B"),
    (PETS, "It is definitely not A, so B.", "B"),
    (PETS, "The answer is B because (A) and (C) are wrong.", "B"),
    (PETS, "Options (A) and (D) are wrong, the answer is B.", "B"),
    (PETS, "The answer is B. It is not A.", "B"),
    (PETS, "It is not clear, but the answer is B.", "B"),
    (PETS, "The answer cannot be B", "unparseable"),
    (PETS, "The answer isn't B.", "unparseable"),
    (PETS, "It couldn't be option B", "unparseable"),
    (PETS, "The answer is not the letter B", "unparseable"),
    (PETS, "I would never go with B", "unparseable"),
    (PETS, "neither option A nor option B", "unparseable"),
    (PETS, "B is not correct", "unparseable"),
    # no answer
    (PETS, "", "empty"),
    (PETS, " .\n", "empty"),
    (PETS, "<answer></answer>", "empty"),
    (PETS, "<think>It must be B", "empty"),
    (PETS, "ABCD", "unparseable"),
    (PETS, "A B C D", "unparseable"),
    (PETS, "A bird", "unparseable"),
    (PETS, "I am not sure.", "unparseable"),
    (NINE, "I am not sure.", "unparseable"),
    (NINE, "I think it is a dog", "unparseable"),
    (PETS, "I do not know", "unparseable"),
    (PETS, "The answer is not B", "unparseable"),
    (PETS, "Not B", "unparseable"),
    (PETS, "B is wrong", "unparseable"),
    (PETS, "It is not a dog", "unparseable"),
    (PETS, "There is no rabbit", "unparseable"),
    (PETS, "neither A nor B", "unparseable"),
    (PETS, "category", "unparseable"),
    (PETS, "hotdogs", "unparseable"),
    (PETS, "an apple", "unparseable"),
    (PETS, "x" * (MAX_CHARACTERS + 1), "unparseable"),
    (PETS, "E", "unknown_option"),
    (PETS, "(F)", "unknown_option"),
    (PETS, "The answer is E.", "unknown_option"),
    (FRUIT, "C", "unknown_option"),
    (FRUIT, "C. blue", "unknown_option"),
    # a text that two options share says nothing, but each letter does
    ((("A", "red"), ("B", "red")), "red", "contradictory"),
    ((("A", "red"), ("B", "red")), "B", "B"),
]

YES_NO = [
    ("yes", "yes"),
    ("Yes", "yes"),
    ("YES!!!", "yes"),
    ("no.", "no"),
    ("No", "no"),
    ("**No**", "no"),
    ("Ｙｅｓ", "yes"),
    ('"yes"', "yes"),
    ("\\boxed{no}", "no"),
    ("$\\text{Yes}$", "yes"),
    ("<answer>no</answer>", "no"),
    ("<think>yes?</think>\nno", "no"),
    ("Yes, the banana is yellow.", "yes"),
    ("No, the banana is red.", "no"),
    ("No, there is no dog.", "no"),
    ("No, I don't see a dog.", "no"),
    ("No it isn't", "no"),
    ("yes, the animal in the picture is typically not seen in cities", "yes"),
    ("Yes, no doubt about it", "yes"),
    ("No one can be seen.", "no"),
    ("The banana is yellow, so yes.", "yes"),
    ("The banana is red, so no", "no"),
    ("The answer is yes.", "yes"),
    ("The answer is no, as it is red", "no"),
    ("Answer: No", "no"),
    ('The output is "no"', "no"),
    ("I would say yes", "yes"),
    ("There is no dog in the image.", "no"),
    ("I see no one.", "no"),
    ("It is yellow. Yes.", "yes"),
    ("It's a yes", "yes"),
    ("(A) Yes", "yes"),
    ("Final answer: **No**", "no"),
    ("¿No?", "no"),
    ("Yes, there are no dogs", "yes"),
    ("Yes\n\nNo", "contradictory"),
    ("Yes, but no", "contradictory"),
    ("Yes (no)", "contradictory"),
    ("Answer: yes or no", "unparseable"),
    ("yess", "unparseable"),
    ("Yes and no", "contradictory"),
    ("yes or no", "unparseable"),
    ("Yes/No", "contradictory"),
    ("yes, no", "contradictory"),
    ("No. Yes.", "contradictory"),
    ("no, yes", "contradictory"),
    ("Yes, it is. Actually, no.", "contradictory"),
    ("Yes, the answer is no", "contradictory"),
    ("Some say yes and others no way", "contradictory"),
    ("<answer>yes</answer><answer>no</answer>", "contradictory"),
    ("", "empty"),
    ("...", "empty"),
    ("<answer> </answer>", "empty"),
    ("<think>yes", "empty"),
    ("I do not know", "unparseable"),
    ("I don't know.", "unparseable"),
    ("I don't know if the answer is yes.", "unparseable"),
    ("No idea", "unparseable"),
    ("I have no idea.", "unparseable"),
    ("No one knows.", "unparseable"),
    ("There is no way to tell.", "unparseable"),
    ("There is no doubt that it is a dog", "unparseable"),
    ("Please answer yes or no.", "unparseable"),
    ("I cannot say yes", "unparseable"),
    ("The answer is not yes", "unparseable"),
    ("maybe yes", "unparseable"),
    ("eyes", "unparseable"),
    ("nothing", "unparseable"),
    ("not", "unparseable"),
    ("know", "unparseable"),
    ("none", "unparseable"),
    ("north", "unparseable"),
    ("another", "unparseable"),
    ("yesterday", "unparseable"),
    ("Church", "unparseable"),
    ("The banana is yellow.", "unparseable"),
    ("It is not yellow", "unparseable"),
]


@pytest.mark.parametrize(("options", "completion", "label"), CHOICES)
def test_choices(options, completion, label):
    for gold, _ in options:
        verdict = verify(completion, "multiple_choice", gold, options)
        if label in UNPARSED:
            assert verdict == Verdict(0.0, None, label)
        else:
            assert (verdict.extracted, verdict.reward) == (label, float(label == gold)), verdict


@pytest.mark.parametrize(("completion", "label"), YES_NO)
def test_yes_no(completion, label):
    for gold in ("yes", "no"):
        verdict = verify(completion, "yes_no", gold)
        if label in UNPARSED:
            assert verdict == Verdict(0.0, None, label)
            assert not verdict.parsed
        else:
            assert (verdict.extracted, verdict.reward) == (label, float(label == gold)), verdict


def test_there_are_enough_hard_strings():
    """Distinct ones, of both kinds."""
    choices = {(options, completion) for options, completion, _ in CHOICES}
    polar = {completion for completion, _ in YES_NO}
    assert len(choices) == len(CHOICES) and len(polar) == len(YES_NO)
    assert len(choices) >= 80 and len(polar) >= 60


def test_the_rule_names_how_it_was_read():
    rules = {
        "B": "letter",
        "dog": "option_text",
        "B. dog": "letter_and_text",
        "B, because it barks": "leading_letter",
        "The answer is B": "stated_letter",
        "The answer is the dog": "stated_text",
        "Surely the one in (B)": "parenthesised_letter",
        "I see two dogs": "mentioned_text",
    }
    for completion, rule in rules.items():
        assert verify(completion, "multiple_choice", "B", PETS).rule == rule


WORDS = st.sampled_from(
    ["yes", "no", "not", "A", "B", "C", "I", "(A)", "B.", "the answer is", "dog", "cat", "or",
     "and", ",", "\n", "<answer>", "</answer>", "<think>", "</think>", "\\boxed{", "}", "**",
     "'", "’", "Ａ"]
)  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(WORDS).map(" ".join), st.lists(WORDS).map("".join))


@settings(max_examples=400)
@given(TEXTS)
def test_no_text_raises_and_at_most_one_answer_is_paid(completion):
    by_letter = [verify(completion, "multiple_choice", letter, PETS) for letter, _ in PETS]
    polar = [verify(completion, "yes_no", gold) for gold in ("yes", "no")]
    for verdicts in (by_letter, polar):
        assert len({verdict.extracted for verdict in verdicts}) == 1
        assert sum(verdict.reward for verdict in verdicts) == float(verdicts[0].parsed)
        assert verdicts[0].parsed == (verdicts[0].rule not in UNPARSED)


@given(TEXTS, st.lists(st.tuples(st.just("A"), st.text()), min_size=1, max_size=1), st.text())
def test_no_option_text_raises(completion, first, second):
    options = (*first, ("B", second))
    assert verify(completion, "multiple_choice", "B", options).reward in (0.0, 1.0)


@pytest.mark.parametrize(
    "piece", ["\\boxed{", "<answer>", "<think>", "A, ", "(", "no ", "not ", " "]
)
def test_long_texts_are_read_quickly(piece):
    text = (piece * MAX_CHARACTERS)[:MAX_CHARACTERS]
    start = time.perf_counter()
    verify(text, "multiple_choice", "A", PETS)
    verify(text, "yes_no", "no")
    assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize(
    ("kind", "answer", "options", "message"),
    [
        ("open", "yes", (), "kind must be one of"),
        ("yes_no", "Yes", (), "gold answer"),
        ("multiple_choice", "E", PETS, "gold answer"),
        ("multiple_choice", "A", (), "gold answer"),
    ],
)
def test_a_bad_gold_answer_is_an_error(kind, answer, options, message):
    with pytest.raises(ValueError, match=message):
        verify("A", kind, answer, options)
