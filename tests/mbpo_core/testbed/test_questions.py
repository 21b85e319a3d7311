import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.testbed.captions import hallucinated, mentions
from mbpo_core.testbed.questions import (
    CLOSED_KINDS,
    LETTERS,
    NUMBERS,
    QUESTION_KINDS,
    ask,
    caption,
)
from mbpo_core.testbed.scenes import COLORS, KINDS, PLACES, TYPICAL_COLOR, make_scene

scenes = st.builds(
    make_scene,
    st.sampled_from(["base", "pool", "dev", "test"]),
    st.integers(0, 10**6),
    typical_share=st.sampled_from([0.0, 0.5, 1.0]),
)


def words(text, vocabulary):
    return re.findall(rf"\b(?:{'|'.join(vocabulary)})\b", text)


def brute_force(scene, question):
    """The gold, found again from the words of the question alone."""
    head = question.text.split("\n")[0]
    kind = next(iter(words(head, KINDS)), None)
    found = scene.find(kind) if kind else None
    match question.kind:
        case "describe":
            return caption(scene)
        case "color":
            return found.color
        case "where":
            return PLACES[found.cell]
        case "count":
            return NUMBERS[len(scene.objects)]
        case "existence":
            return "yes" if found else "no"
        case "attribute":
            return "yes" if words(head, COLORS) == [found.color] else "no"
        case "choice":
            lines = dict(line.split(". ") for line in question.text.split("\n")[1:])
            return next(letter for letter, color in lines.items() if color == found.color)


@given(scenes, st.sampled_from(QUESTION_KINDS), st.integers(0, 10**6))
def test_gold_agrees_with_the_truth(scene, kind, seed):
    question = ask(scene, kind, random.Random(seed))
    assert question.kind == kind
    assert question.gold == brute_force(scene, question)
    assert question == ask(scene, kind, random.Random(seed))


@given(scenes, st.sampled_from(QUESTION_KINDS), st.integers(0, 10**6))
def test_answers_state_only_what_is_true(scene, kind, seed):
    answer = ask(scene, kind, random.Random(seed)).answer
    if kind != "existence" or answer.startswith("Yes"):
        assert hallucinated(answer, scene.truth()) == []
    for place in words(answer, sorted(PLACES, key=len, reverse=True)):
        assert place in {found.place for found in scene.objects}


@given(scenes, st.sampled_from(CLOSED_KINDS), st.integers(0, 10**6))
def test_closed_golds_can_be_told_from_the_answer_alone(scene, kind, seed):
    question = ask(scene, kind, random.Random(seed))
    if kind == "choice":
        letter, text = question.answer.split(". ")
        assert letter == question.gold
        assert text == question.options[LETTERS.index(letter)]
        assert question.text.split("\n")[1:] == [
            f"{name}. {option}" for name, option in zip(LETTERS, question.options, strict=False)
        ]
        assert 2 <= len(question.options) == len(set(question.options)) <= 4
    else:
        assert question.answer.lower().startswith(f"{question.gold}, ")
        assert question.options == ()


@given(scenes, st.sampled_from(["describe", "color", "where", "count"]), st.integers(0, 10**6))
def test_open_golds_never_look_closed(scene, kind, seed):
    question = ask(scene, kind, random.Random(seed))
    assert not re.match(r"(?i)(yes|no)\b|[A-F]\.", question.answer)
    assert "\n" not in question.text


@pytest.mark.parametrize("kind", ["existence", "attribute"])
def test_yes_and_no_are_balanced(kind):
    golds = [
        ask(make_scene("pool", i, typical_share=0.5), kind, random.Random(i)).gold
        for i in range(1000)
    ]
    assert golds.count("yes") / len(golds) == pytest.approx(0.5, abs=0.06)


def test_the_typical_color_is_a_frequent_distractor_where_it_is_wrong():
    hits = []
    for i in range(300):
        scene = make_scene("test", i, typical_share=0.0)
        question = ask(scene, "choice", random.Random(i))
        kind = words(question.text, KINDS)[0]
        hits.append(TYPICAL_COLOR[kind] in question.options)
    assert sum(hits) / len(hits) > 0.6


def test_mentions_of_hand_cases():
    assert mentions("A yellow banana, a red tomato and a leaf.") == [
        ("banana", "yellow"),
        ("tomato", "red"),
        ("leaf", None),
    ]
    assert mentions("") == mentions("The bananas are redleaf.") == []
    assert mentions("Green LEAF, green leaf") == [("leaf", "green")] * 2


def test_hallucinated_hand_cases():
    truth = [
        {"object": "banana", "color": "red", "cell": 0},
        {"object": "leaf", "color": "green", "cell": 5},
    ]
    assert hallucinated("A red banana and a green leaf.", truth) == []
    assert hallucinated("A yellow banana and a leaf.", truth) == [("banana", "yellow")]
    assert hallucinated("A red banana, a plum and a green fish.", truth) == [
        ("plum", None),
        ("fish", "green"),
    ]
    assert hallucinated("a red leaf and a red leaf", truth) == [("leaf", "red")] * 2


@given(scenes, scenes)
def test_a_caption_hallucinates_exactly_what_the_other_scene_lacks(scene, other):
    said = [(found.kind, found.color) for found in scene.objects]
    true = {(found.kind, found.color) for found in other.objects}
    assert mentions(caption(scene)) == said
    assert hallucinated(caption(scene), other.truth()) == [m for m in said if m not in true]
