"""Words of a caption to COCO's objects. All captions here are synthetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation.coco_objects import (
    classic_vocabulary,
    in_vocabulary,
    joined,
    refined_vocabulary,
    synonyms_of,
)
from mbpo_core.evaluation.protocol import BenchmarkError, SourceFile

SYNONYMS = """person, man, woman, baby, passenger
motorcycle, scooter,  motor bike, motor cycle
train, locomotive
bird, duck
dog, puppy
hot dog
chair, seat
toilet, potty
tie, bow tie
wine glass
oven, stove top oven
airplane, jet

"""
CLASSIC, REFINED = classic_vocabulary(SYNONYMS), refined_vocabulary(SYNONYMS)


def objects(words, vocabulary=CLASSIC):
    found = in_vocabulary(joined(words.split(" "), vocabulary), vocabulary)
    return [vocabulary.nodes[word] for word in found]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("a man and a woman", ["person", "person"]),
        ("a hot dog by a dog", ["hot dog", "dog"]),
        ("a baby bird", ["bird"]),
        ("a baby and a bird", ["person", "bird"]),
        ("an adult cub", []),
        ("a passenger jet", ["airplane"]),
        ("a passenger train track", ["train"]),
        ("a train track", []),
        ("the toilet seat", ["toilet"]),
        ("the seat of the toilet", ["toilet"]),
        ("a toilet seat beside a seat", ["toilet"]),
        ("a seat", ["chair"]),
        ("a bow tie", ["tie"]),
        ("a wine glas", ["wine glass"]),
        ("", []),
    ],
)
@pytest.mark.parametrize("vocabulary", [CLASSIC, REFINED])
def test_objects_of_a_caption(words, found, vocabulary):
    assert objects(words, vocabulary) == found


def test_a_word_behind_two_spaces_never_matches_in_the_classic_list():
    assert objects("a motor bike", CLASSIC) == []
    assert objects("a motor bike", REFINED) == ["motorcycle"]
    assert objects("a motor cycle", CLASSIC) == ["motorcycle"]


def test_three_words_are_never_joined():
    assert objects("a stove top oven", CLASSIC) == ["oven"]
    assert in_vocabulary(["stove top oven"], REFINED) == ["stove top oven"]


def test_pairs_are_joined_from_left_to_right():
    words = ["hot", "dog", "hot", "hot", "dog"]
    assert joined(words, CLASSIC) == ["hot dog", "hot", "hot dog"]
    assert joined(words, CLASSIC, only=True) == ["hot dog", "hot dog"]


@given(st.lists(st.sampled_from(["hot", "dog", "baby", "bird", "toilet", "seat", "train", "track", "man", "the"])))
def test_joining_loses_no_word_and_makes_no_pair_twice(words):
    done = joined(words, CLASSIC)
    assert len(words) - len(done) == len(joined(words, CLASSIC, only=True))
    kept = [word for word in done if " " not in word]
    assert len(kept) <= len(words)
    assert set(in_vocabulary(done, CLASSIC)) <= set(CLASSIC.nodes)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "got none"),
        ([SourceFile("synonyms.txt", "a, b"), SourceFile("synonyms_refine.txt", "a, b")], "refine"),
        ([SourceFile("synonyms.txt", "person\ndog")], "has no line"),
    ],
)
def test_a_bad_list_of_synonyms_is_named(files, message):
    with pytest.raises(BenchmarkError, match=message):
        synonyms_of(files, "chair", "synonyms.txt")
