import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.data.closed_ended import ClosedEnded, detect_closed_ended
from mbpo_core.data.conversations import RawSample, read_turns
from mbpo_core.rewards import verify

CAT_DOG = (("A", "cat"), ("B", "dog"))

MULTIPLE_CHOICE = [
    ("Which?\nA. cat\nB. dog\nAnswer with the option's letter.", "B", "B", CAT_DOG),
    ("Which?\nA) cat\nB) dog", "(A)", "A", CAT_DOG),
    ("Which?\n(A) cat\n(B) dog", "B. dog", "B", CAT_DOG),
    ("Which?\n(A) cat\n\n(B) dog", "dog", "B", CAT_DOG),
    ("Which?\nA: cat\nB: dog", "The answer is B.", "B", CAT_DOG),
    ("Which?\nＡ．cat\nＢ．dog", "Ｂ", "B", CAT_DOG),
    ("Which?\nA、cat\nB、dog", "B", "B", CAT_DOG),
    ("Which?\na) cat\nb) dog", "b", "B", CAT_DOG),
    ("Which? Options: A: cat, B: dog", "A", "A", CAT_DOG),
    ("Which? Options: A: cat., B: dog.", "A", "A", CAT_DOG),
    ("Which? Options: (A) cat (B) dog", "It barks. <CONCLUSION>The answer is B.</CONCLUSION>", "B",
     CAT_DOG),
    ("Which is it? (A) cat (B) dog\nAnswer briefly.", "B", "B", CAT_DOG),
    ("Which? A. cat B. dog", "B", "B", CAT_DOG),
    ("Choices:\n(A) cat\n(B) dog", "A", "A", CAT_DOG),
    ("Hint: give the option letter, e.g., A, B, C, D, at the end.\nQuestion: Which?\n"
     "Options: A: cat, B: dog", "B", "B", CAT_DOG),
    ("Which?\nA. a cat that\nis black\nB. dog", "A", "A", (("A", "a cat that\nis black"),
                                                           ("B", "dog"))),
    # options that are yes and no: multiple choice comes first
    ("Is it a mammal?\nA. no\nB. yes", "A", "A", (("A", "no"), ("B", "yes"))),
    ("Is it a mammal?\nA. no\nB. yes", "yes", "B", (("A", "no"), ("B", "yes"))),
    # genetics beside real options
    ("The allele for red fur (A) is dominant.\nWhich?\nA. cat\nB. dog", "B", "B", CAT_DOG),
    # only the last list is the question's
    ("Example:\nA. x\nB. y\nNow: which?\nA. cat\nB. dog", "B", "B", CAT_DOG),
]  # fmt: skip

OPEN = [
    ("Describe the picture.", "A cat."),
    ("Is the ground blue or brown?", "brown"),
    ("What does the sign say?", "No parking"),
    ("What is on the jersey?", "No. 5"),
    ("Which number?", "No 7"),
    ("Is there a cat?", "I do not know"),
    ("Is there a cat?", "Yes and no"),
    ("Who is there?", "No one"),
    ("What colour is the allele (A)?", "A"),
    ("Which is it?\nA. cat\nB. dog", "A bird"),
    ("Which is it?\nA. cat\nB. dog", "C"),
    ("Which is it?\nB. cat\nC. dog", "B"),
    ("What do A. and B. have in common?", "They are letters"),
    ("Tell me.", ""),
]

YES_NO = [
    ("Is there a cat?", "Yes", "yes"),
    ("Is there a cat?", "no.", "no"),
    ("The image shows a cat. True?", "Yes", "yes"),
    ("Are there rivers or oceans?", "Yes", "yes"),
    ("Are there dogs?", "No dogs", "no"),
    ("Is it red?", "No, it isn't", "no"),
    ("A cat is there. Please answer yes or no.", "Yes, I can see a cat sitting there.", "yes"),
]

LONG = [
    ("Is the banana yellow?", "Yes, the banana is yellow.", "yes"),
    ("Is there a dog?", "No, there is no dog.", "no"),
    ("Is the banana yellow?", "The banana is yellow, so yes.", "yes"),
    ("Can you see people?", "Yes there are two people walking.", "yes"),
]


@pytest.mark.parametrize(("question", "answer", "letter", "options"), MULTIPLE_CHOICE)
def test_multiple_choice(question, answer, letter, options):
    found = detect_closed_ended(question, answer)
    assert found == ClosedEnded("multiple_choice", letter, options)
    assert verify(answer, found.kind, found.answer, found.options).reward == 1.0


@pytest.mark.parametrize(("question", "answer"), OPEN)
@pytest.mark.parametrize("long_yes_no", [False, True])
def test_open_ended(question, answer, long_yes_no):
    assert detect_closed_ended(question, answer, long_yes_no=long_yes_no) is None


@pytest.mark.parametrize(("question", "answer", "verdict"), YES_NO)
def test_yes_no(question, answer, verdict):
    for long_yes_no in (False, True):
        found = detect_closed_ended(question, answer, long_yes_no=long_yes_no)
        assert found == ClosedEnded("yes_no", verdict)


@pytest.mark.parametrize(("question", "answer", "verdict"), LONG)
def test_long_answers_follow_the_switch(question, answer, verdict):
    assert detect_closed_ended(question, answer) is None
    found = detect_closed_ended(question, answer, long_yes_no=True)
    assert found == ClosedEnded("yes_no", verdict)


TEXTS = st.lists(
    st.sampled_from(["A. ", "B. ", "(A) ", "(B)", "C: ", "\n", "yes", "no", "cat", "Options:",
                     "a)", ", "])
).map("".join)  # fmt: skip


@given(TEXTS | st.text(), TEXTS | st.text(), st.booleans())
def test_what_is_detected_is_graded_right(question, answer, long_yes_no):
    found = detect_closed_ended(question, answer, long_yes_no=long_yes_no)
    if found is not None:
        verdict = verify(answer, found.kind, found.answer, found.options)
        assert verdict.reward == 1.0
        assert [letter for letter, _ in found.options] == list("ABCDEFGH"[: len(found.options)])


KINDS = {"yesno": "yes_no", "mcq": "multiple_choice", "caption": None}


@pytest.mark.parametrize(("folder", "count"), [("coco_permissive", 535), ("mmbench_samples", 34)])
@pytest.mark.parametrize("long_yes_no", [False, True])
def test_labels_of_real_samples(shared_data, folder, count, long_yes_no):
    records = json.loads((shared_data / "real" / folder / "llava_samples.json").read_text())
    assert len(records) == count
    for record in records:
        (turn,) = read_turns(record)
        assert isinstance(turn, RawSample)
        found = detect_closed_ended(turn.question, turn.answer, long_yes_no=long_yes_no)
        assert (found and found.kind) == KINDS[record["kind"]], record
        assert (found and found.answer) == record["answer"], record


def test_the_demo_of_qwen(shared_data):
    path = shared_data / "real" / "qwen_vl_demo" / "single_images.json"
    turns = [turn for record in json.loads(path.read_text()) for turn in read_turns(record)]
    assert [detect_closed_ended(turn.question, turn.answer) for turn in turns] == [
        ClosedEnded("yes_no", "yes"), None, None,
    ]  # fmt: skip
    assert turns[0].question == "Is the value of Favorable 38 in 2015?"


@pytest.mark.parametrize("answer", ["A dog is sleeping on the sofa.", "Surely the one in (B)"])
def test_a_gold_answer_that_merely_mentions_an_option_is_open_ended(answer):
    """The verifier would read it; but it was written as a sentence, and is trained as one."""
    question = "Which is it?\nA. cat\nB. dog"
    assert verify(answer, "multiple_choice", "B", CAT_DOG).reward == 1.0
    assert detect_closed_ended(question, answer) is None
