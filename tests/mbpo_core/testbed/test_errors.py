import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbpo_core.rewards import verify
from mbpo_core.testbed.captions import hallucinated, mentions
from mbpo_core.testbed.errors import (
    EMBEDDED_INJECTOR,
    RULES,
    added,
    exchanged,
    read_caption,
    recolored,
    told,
)
from mbpo_core.testbed.language import corpus
from mbpo_core.testbed.measure import is_right
from mbpo_core.testbed.questions import (
    CLOSED_KINDS,
    LETTERS,
    QUESTION_KINDS,
    ask,
    caption,
)
from mbpo_core.testbed.scenes import COLORS, KINDS, MAX_OBJECTS, TYPICAL_COLOR, make_scene

any_scene = st.builds(
    make_scene, st.just("pool"), st.integers(0, 10**5), typical_share=st.sampled_from([0, 0.5, 1])
)
seeds = st.integers(0, 2**63 - 1)


@pytest.fixture(scope="module")
def vocabulary():
    return {word for text in corpus() for word in text.split()}


@pytest.mark.parametrize("kind", QUESTION_KINDS)
@settings(deadline=None)
@given(scene=any_scene, seed=seeds)
def test_the_error_is_wrong_seeded_and_stays_in_the_language(kind, scene, seed, vocabulary):
    question = ask(scene, kind, random.Random(seed))
    wrong = EMBEDDED_INJECTOR(question.text, question.answer, seed)
    assert wrong is not None and wrong != question.answer
    assert EMBEDDED_INJECTOR(question.text, question.answer, seed) == wrong
    assert not is_right(question, wrong)
    assert set(wrong.split()) <= vocabulary
    # It is an answer of the same form, or the rules would not know it again.
    assert EMBEDDED_INJECTOR(question.text, wrong, seed + 1) is not None


@settings(deadline=None)
@given(any_scene, seeds, st.sampled_from([recolored, exchanged, added]))
def test_a_caption_gets_exactly_one_error(scene, seed, rule):
    wrong = rule("", caption(scene), random.Random(seed))
    assert (wrong is None) == (rule is added and len(scene.objects) == MAX_OBJECTS)
    if wrong is None:
        return
    kinds = [found.object for found in mentions(wrong)]
    assert len(set(kinds)) == len(kinds) == len(scene.objects) + (rule is added)
    (error,) = hallucinated(wrong, scene.truth())
    found = scene.find(error.object)
    assert (found is not None) == (rule is recolored)
    if rule is recolored and not found.is_typical:
        assert error.color == TYPICAL_COLOR[error.object]
    if rule is added:
        assert error.color == TYPICAL_COLOR[error.object]
    if rule is exchanged:
        could = {TYPICAL_COLOR[kind] for kind in KINDS if scene.find(kind) is None}
        assert error.color not in could or TYPICAL_COLOR[error.object] == error.color


@pytest.mark.parametrize("kind", CLOSED_KINDS)
@settings(deadline=None)
@given(scene=any_scene, seed=seeds)
def test_closed_answers_are_flipped_to_another_readable_verdict(kind, scene, seed):
    question = ask(scene, kind, random.Random(seed))
    wrong = EMBEDDED_INJECTOR(question.text, question.answer, seed)
    form = "multiple_choice" if kind == "choice" else "yes_no"
    options = tuple(zip(LETTERS, question.options, strict=False))
    verdict = verify(wrong, form, question.gold, options)
    assert verdict.parsed and verdict.reward == 0
    if kind == "choice":
        assert wrong == f"{verdict.extracted}. {dict(options)[verdict.extracted]}"
    if kind == "attribute":
        # The reason agrees with the verdict: yes, it has the asked colour; no, it has another.
        says_asked = wrong.removesuffix(".").split()[-1] in question.text
        assert says_asked == (verdict.extracted == "yes")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("color", COLORS)
def test_the_prior_is_the_error_wherever_it_is_wrong(kind, color):
    wrong = EMBEDDED_INJECTOR(f"What color is the {kind}?", f"The {kind} is {color}.", 3)
    assert wrong.startswith(f"The {kind} is ") and color not in wrong
    if color != TYPICAL_COLOR[kind]:
        assert wrong == f"The {kind} is {TYPICAL_COLOR[kind]}."
        text = f"What color is the {kind}?\nA. {color}\nB. {TYPICAL_COLOR[kind]}\nC. black"
        assert EMBEDDED_INJECTOR(text, f"A. {color}", 3) == f"B. {TYPICAL_COLOR[kind]}"


def test_all_errors_of_captions_occur():
    text = told([("red", "fish"), ("white", "cloud")])
    made = {EMBEDDED_INJECTOR("Describe the image.", text, seed) for seed in range(60)}
    assert {len(mentions(wrong)) for wrong in made} == {2, 3}
    assert "A blue fish and a white cloud." in made
    assert {"tomato", "cherry"} & {m.object for wrong in made for m in mentions(wrong)}


@settings(deadline=None)
@given(any_scene)
def test_captions_are_read_back(scene):
    named = read_caption(caption(scene))
    assert named == [(found.color, found.kind) for found in scene.objects]
    assert told(named) == caption(scene)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A dog on a red mat.",
        "A red fish and a blue fish.",
        "A red fish.",
        "The red fish and a white cloud.",
        "The fish is red. It swims.",
        "Yes.",
        "B",
        "Yes, the fish is red.",  # to another question
    ],
)
def test_what_is_not_an_answer_of_this_world_is_left_alone(text):
    for seed in range(5):
        assert EMBEDDED_INJECTOR("Describe the image.", text, seed) is None


def test_answers_that_contradict_their_question_are_left_alone():
    assert EMBEDDED_INJECTOR("Is the fish blue?", "Yes, the fish is red.", 0) is None
    assert EMBEDDED_INJECTOR("Which?\nA. red\nB. blue", "A. blue", 0) is None
    assert EMBEDDED_INJECTOR("Which?\nA. red", "A. red", 0) is None


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40), seeds)
def test_no_text_breaks_a_rule(question, chosen, seed):
    assert [rule(question, chosen, random.Random(seed)) for rule in RULES] == [None] * len(RULES)
