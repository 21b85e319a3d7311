import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.data.conversations import (
    RawSample,
    RefusedTurn,
    read_turns,
    without_image_token,
)
from mbpo_core.records import Reason, Refusal


def llava(*values, **more):
    speakers = ("human", "gpt") * len(values)
    turns = [{"from": who, "value": what} for who, what in zip(speakers, values, strict=False)]
    return {"id": "r1", "image": "a.png", "conversations": turns} | more


def reasons(record):
    return [
        turn.refusal.reason if isinstance(turn, RefusedTurn) else None
        for turn in read_turns(record)
    ]


ONE = RawSample("r1", 0, "a.png", "What is it?", "A cat.")
SAME = [
    llava("<image>\nWhat is it?", "A cat."),
    llava("What is it?\n<image>", " A cat.\n"),
    llava("What is it? <image>", "A cat."),
    llava("What <image> is it?", "A cat."),
    llava("What is it?", "A cat."),
    llava("<image>\nWhat is it?", "A cat.", image=["a.png"]),
    llava("<image>\nWhat is it?", "A cat.", image={"bytes": None, "path": "a.png"}),
    {"id": "r1", "images": ["a.png"],
     "messages": [{"role": "system", "content": "Be kind."},
                  {"role": "user", "content": "<image>What is it?"},
                  {"role": "assistant", "content": "A cat."}]},
    {"id": "r1", "images": ["a.png"],
     "messages": [{"role": "user", "content": [{"type": "image"},
                                               {"type": "text", "text": "What is it?"}]},
                  {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]}]},
    {"id": "r1", "image": "a.png",
     "conversations_v0": [{"question": "What is it?", "answer": "A cat.", "score": 3}],
     "conversations_v1": [{"question": "evolved", "answer": "not read"}]},
    {"id": "r1", "image": "a.png", "conversations": [{"question": "What is it?",
                                                      "answer": "A cat."}]},
    {"id": "r1", "image": "a.png", "question": "What is it?", "answer": "A cat."},
    {"id": "r1", "image": "a.png", "question": "What is it?", "response": "A cat."},
]  # fmt: skip


@pytest.mark.parametrize("record", SAME)
def test_all_formats_give_the_same_sample(record):
    assert read_turns(record) == [ONE]


def test_each_turn_is_a_sample_of_its_own():
    found = read_turns(llava("<image>\nWhat is it?", "A cat.", "And its colour?", "Black."))
    assert found == [ONE, RawSample("r1", 1, "a.png", "And its colour?", "Black.")]


def test_bytes_and_number_ids():
    (found,) = read_turns(llava("q", "a", image={"bytes": b"xy", "path": "a.png"}, id=7))
    assert (found.image, found.source_id) == (b"xy", "7")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<image>\nQ", "Q"),
        ("Q\n<image>", "Q"),
        ("Q <image>", "Q"),
        ("Look at <image> and tell", "Look at and tell"),
        ("First line\n<image>\nsecond line", "First line\nsecond line"),
        ("A\n\nB <image>", "A\n\nB"),
        ("<image>", ""),
        ("<image> <image>\nQ", "Q"),
        ("<image 1> Q", "<image 1> Q"),
    ],
)
def test_the_image_token_is_removed(text, expected):
    assert without_image_token(text) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (None, [Reason.MALFORMED_RECORD]),
        ([], [Reason.MALFORMED_RECORD]),
        ({}, [Reason.MALFORMED_RECORD]),
        ({"image": "a.png"}, [Reason.MALFORMED_RECORD]),
        (llava(), [Reason.MALFORMED_RECORD]),
        (llava(conversations="text"), [Reason.MALFORMED_RECORD]),
        (llava(conversations=["text"]), [Reason.MALFORMED_RECORD]),
        (llava(conversations=[{"who": "human"}]), [Reason.MALFORMED_RECORD]),
        (llava(conversations=[{"from": "robot", "value": "q"}]), [Reason.MALFORMED_RECORD]),
        (llava(conversations=[{"from": ["human"], "value": "q"}]), [Reason.MALFORMED_RECORD]),
        (llava("q", "a", image=5), [Reason.MALFORMED_RECORD]),
        (llava("q", "a", image="\ud800.png"), [Reason.MALFORMED_RECORD]),
        (llava("q", 6), [Reason.MALFORMED_RECORD]),
        (llava("q", "\ud800"), [Reason.MALFORMED_RECORD]),
        (llava([{"type": "video"}], "a"), [Reason.MALFORMED_RECORD]),
        (llava("q", "a", image=None), [Reason.NO_IMAGE]),
        (llava("q", "a", image=""), [Reason.NO_IMAGE]),
        (llava("q", "a", image=[]), [Reason.NO_IMAGE]),
        (llava("q", "a", image={"bytes": None, "path": None}), [Reason.NO_IMAGE]),
        (llava("q", "a", image=["a.png", "b.png"]), [Reason.SEVERAL_IMAGES]),
        (llava("<image> or <image>?", "a"), [Reason.SEVERAL_IMAGES]),
        (llava("", "a"), [Reason.EMPTY_QUESTION]),
        (llava("<image>\n", "a"), [Reason.EMPTY_QUESTION]),
        (llava(None, "a"), [Reason.EMPTY_QUESTION]),
        (llava("q", ""), [Reason.EMPTY_RESPONSE]),
        (llava("q", " \n"), [Reason.EMPTY_RESPONSE]),
        (llava("q", None), [Reason.EMPTY_RESPONSE]),
        (llava("q"), [Reason.EMPTY_RESPONSE]),
        (llava("<image> q", "a", "q2", "a2", "q3"), [None, None, Reason.EMPTY_RESPONSE]),
        (llava(conversations=[{"from": "gpt", "value": "a"}]), [Reason.EMPTY_QUESTION]),
        (llava("<image>q", "a", "<image>q2", "a2", "q3", "a3"),
         [None, Reason.IMAGE_IN_LATER_TURN, None]),
        (llava("hello", "hi", "<image>q2", "a2", "q3", "a3"),
         [Reason.NO_IMAGE, Reason.IMAGE_IN_LATER_TURN, None]),
        (llava("q", "see <image>"), [Reason.IMAGE_IN_LATER_TURN]),
        (llava("q <|image_pad|>", "a"), [Reason.SPECIAL_TOKEN]),
        (llava("q", "a<|im_end|>"), [Reason.SPECIAL_TOKEN]),
    ],
)  # fmt: skip
def test_what_is_refused_says_why(record, expected):
    assert reasons(record) == expected


def test_one_bad_turn_leaves_its_neighbours():
    found = read_turns(llava("<image>\nWhat is it?", "A cat.", "q2", 6, "q3", "a3"))
    assert found[0] == ONE
    assert found[1].refusal == Refusal(Reason.MALFORMED_RECORD, "expected text, got int")
    assert found[2] == RawSample("r1", 2, "a.png", "q3", "a3")


def test_a_refusal_from_the_source_stays_one():
    broken = Refusal(Reason.MALFORMED_RECORD, "line 3 is no JSON")
    assert read_turns(broken) == [RefusedTurn("", 0, broken)]


KEYS = st.sampled_from(
    ["id", "image", "images", "conversations", "messages", "conversations_v0", "from", "value",
     "role", "content", "question", "answer", "bytes", "path", "type", "text"]
)  # fmt: skip
VALUES = st.sampled_from(["human", "gpt", "<image>", "user", "image", "text", "a.png"]) | st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | VALUES | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@given(JSON | st.dictionaries(KEYS, JSON, max_size=5))
def test_no_record_raises_and_none_is_lost(record):
    found = read_turns(record)
    assert found
    assert [turn.turn for turn in found] == list(range(len(found)))
    for turn in found:
        (turn.source_id + turn.question + turn.answer).encode()
        if isinstance(turn, RawSample):
            assert turn.question and turn.answer and "<image>" not in turn.question
        else:
            turn.refusal.detail.encode()


def test_deep_nesting_does_not_raise():
    deep = "x"
    for _ in range(50_000):
        deep = [deep]
    assert reasons(llava(deep, "a", image=deep)) == [Reason.MALFORMED_RECORD]


def test_real_samples_are_all_read(shared_data):
    for folder, count in (("coco_permissive", 535), ("mmbench_samples", 34)):
        path = shared_data / "real" / folder / "llava_samples.json"
        turns = [turn for record in json.loads(path.read_text()) for turn in read_turns(record)]
        assert len(turns) == count
        assert all(isinstance(turn, RawSample) for turn in turns)
