import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbpo_core.mining.phrases import NON_OBJECTS, candidate_phrases
from mbpo_core.testbed.questions import caption
from mbpo_core.testbed.scenes import COLORS, KINDS, PLACES
from mbpo_core.testbed.world import scenes

WORDS = ("a", "the", "red", "big", "dogs", "dog", "table", "is", "on", "and", ",", ".", "left")
sentences = st.lists(st.sampled_from(WORDS), max_size=20).map(" ".join)


def texts(text):
    return [phrase.text for phrase in candidate_phrases(text)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("color", COLORS)
def test_every_object_of_the_embedded_world_is_found_in_every_kind_of_answer(kind, color):
    assert texts(f"The {kind} is {color}.") == [kind]
    assert texts(f"Yes, there is a {color} {kind}.") == [f"{color} {kind}"]
    assert texts(f"No, there is no {kind}.") == [kind]
    assert texts(f"B. {color}") == []


@pytest.mark.parametrize("place", PLACES)
def test_places_and_amounts_are_no_candidates(place):
    assert texts(f"The fish is at the {place}.") == ["fish"]
    assert texts("There are three objects.") == []


def test_captions_give_all_objects_in_reading_order():
    for scene in scenes("pool", 60):
        expected = [f"{found.color} {found.kind}" for found in scene.objects]
        assert texts(caption(scene)) == expected


def test_positions_count_every_token_and_plurals_share_a_phrase():
    (phrase,) = candidate_phrases("Big dogs are here, and the big dog is old.")
    # Big(0) dogs(1) are(2) here(3) ,(4) and(5) the(6) big(7) dog(8) is(9) old(10)
    assert phrase.text == "big dogs"
    assert phrase.positions == (0, 7)
    assert phrase.noun == "dog"


def test_the_noun_keeps_compounds_and_drops_adjectives():
    found = {p.text: p.noun for p in candidate_phrases("Two red traffic lights near old knives.")}
    assert found == {"red traffic lights": "traffic light", "old knives": "knife"}
    assert [p.noun for p in candidate_phrases("A cactus is in the bus.")] == ["cactus", "bus"]


def test_an_adjective_before_a_later_noun_stays_one():
    assert texts("A red and white cat sleeps.") == ["white cat"]
    assert texts("There is a large, wooden table.") == ["wooden table"]


@settings(deadline=None)
@given(st.one_of(sentences, st.text(max_size=60)))
def test_candidates_of_any_text_are_well_formed(text):
    found = candidate_phrases(text)
    assert len({phrase.stems for phrase in found}) == len(found)
    assert found == candidate_phrases(text)
    starts = [phrase.positions[0] for phrase in found]
    assert starts == sorted(set(starts))
    for phrase in found:
        assert list(phrase.positions) == sorted(set(phrase.positions))
        assert phrase.noun and phrase.noun not in NON_OBJECTS
        assert len(phrase.text) >= 3
        assert phrase.text.split()[0] in text.lower()


def test_nothing_is_downloaded_and_nothing_warned_of_in_a_fresh_process():
    code = """
    import socket
    socket.socket.connect = None
    from mbpo_core.mining.phrases import candidate_phrases
    print(candidate_phrases("A white cloud.")[0].text)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(map(str.strip, code.splitlines()))],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == "white cloud", done.stderr
    assert done.stderr == ""
