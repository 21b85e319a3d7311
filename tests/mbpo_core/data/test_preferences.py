import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.data.conversations import RawSample, RefusedTurn, read_turns
from mbpo_core.data.texts import normalised, without_template
from mbpo_core.records import Reason
from tests.mbpo_core.data.layouts import (
    CHOSEN,
    LAYOUTS,
    PAIR,
    REJECTED,
    SAID,
    SYSTEM,
    Q,
    chat,
    llava,
)


def texts(record):
    """Question, chosen and rejected answer of each sample; all of them are expected to be read."""
    found = read_turns(record)
    assert [type(turn) for turn in found] == [RawSample] * len(found), found
    assert [turn.turn for turn in found] == list(range(len(found)))
    return tuple((turn.question, turn.answer, turn.rejected) for turn in found)


def reasons(record):
    return [
        turn.refusal.reason if isinstance(turn, RefusedTurn) else None
        for turn in read_turns(record)
    ]


def pair(**changes):
    return PAIR | {"image": "a.png"} | changes


def povid(chosen, rejected):
    sides = {"conversations": llava(*chosen), "rejected_conversations": llava(*rejected)}
    return {"image": "a.png"} | sides


def ranked(*completions, prompt="<image>\nq"):
    listed = [{"response": response, "score": score} for response, score in completions]
    return {"image": "a.png", "prompt": prompt, "completions": listed}


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_every_layout_is_read(layout):
    assert texts(layout.with_image("a.png")) == layout.turns
    assert {turn.image for turn in read_turns(layout.with_image("a.png"))} == {"a.png"}


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_null_columns_of_a_table_of_mixed_records_change_nothing(layout):
    keys = {key for one in LAYOUTS for key in (*one.record, one.image_key)}
    record = dict.fromkeys(keys) | layout.with_image("a.png")
    assert texts(record) == layout.turns


def test_a_record_without_a_rejected_side_has_none():
    plain = {"image": "a.png", "conversations": llava("<image>\nq", "a", "q2", "a2")}
    assert texts(plain) == (("q", "a", None), ("q2", "a2", None))
    assert texts(plain | {"chosen": None, "rejected": None}) == texts(plain)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (pair(rejected=""), [Reason.BAD_REJECTED]),
        (pair(rejected=" \n"), [Reason.BAD_REJECTED]),
        (pair(rejected=None), [Reason.BAD_REJECTED]),
        (pair(rejected=False), [Reason.BAD_REJECTED]),
        (pair(rejected="\ud800"), [Reason.BAD_REJECTED]),
        (pair(rejected=[{"type": "video"}]), [Reason.BAD_REJECTED]),
        (pair(rejected="a<|im_end|>"), [Reason.BAD_REJECTED]),
        (pair(rejected="<image> a"), [Reason.BAD_REJECTED]),
        (pair(rejected=" a  CAT"), [Reason.EQUAL_REJECTED]),
        (pair(chosen=None), [Reason.EMPTY_RESPONSE]),
        (pair(chosen=""), [Reason.EMPTY_RESPONSE]),
        (pair(chosen="a<|im_end|>"), [Reason.SPECIAL_TOKEN]),
        (pair(question=None), [Reason.EMPTY_QUESTION]),
        (pair(image=None), [Reason.NO_IMAGE]),
        (pair(image=None, image_path="a.png", img_path="b.png"), [Reason.SEVERAL_IMAGES]),
        (pair(rejected=[{"role": "robot", "content": "a"}]), [Reason.MALFORMED_RECORD]),
        (pair(rejected={"text": "a"}), [Reason.MALFORMED_RECORD]),
        ({"image": "a.png", "text": "no JSON"}, [Reason.MALFORMED_RECORD]),
        ({"image": "a.png", "text": "[" * 100_000}, [Reason.MALFORMED_RECORD]),
        ({"image": "a.png", "text": "[1]"}, [Reason.MALFORMED_RECORD]),
        ({"image": "a.png", "text": "{}"}, [Reason.MALFORMED_RECORD]),
        ({"image": "a.png", "chosen": "A cat.", "rejected": "A cow."}, [Reason.EMPTY_QUESTION]),
        ({"image": "a.png", "prompt": Q, "chosen": chat(Q, CHOSEN), "rejected": REJECTED}, [None]),
        ({"image": "a.png", "prompt": {"role": "user"}, **SAID}, [Reason.MALFORMED_RECORD]),
        ({"image": "a.png", "prompt": [], "chosen": [], "rejected": []}, [Reason.MALFORMED_RECORD]),
        ({"image": "a.png", "rejected_conversations": llava("q", "a")}, [Reason.MALFORMED_RECORD]),
        (povid(("q", "a"), ()), [Reason.BAD_REJECTED]),
        (povid((), ("q", "a")), [Reason.EMPTY_RESPONSE]),
        (povid(("q", "a"), ("q",)), [Reason.BAD_REJECTED]),
        (povid(("q", "a"), ("other", "b")), [Reason.BAD_REJECTED]),
        (povid(("q", "a", "q2", "a2"), ("q", "b")), [None, Reason.BAD_REJECTED]),
        (povid(("q", "a"), ("q", "b", "q2", "b2")), [None, Reason.EMPTY_RESPONSE]),
        (povid(("q", "a", "q2", "a2"), ("q", "a", "q2", "A2!")), [None, Reason.EQUAL_REJECTED]),
        (povid(("q", 6, "q2", "a2"), ("q", 6, "q2", "b2")), [Reason.MALFORMED_RECORD, None]),
        (povid(("q", "a"), ("q", "b")) | {"rejected_conversations": "b"},
         [Reason.MALFORMED_RECORD]),
        (ranked(("a", 1)), [Reason.BAD_REJECTED]),
        (ranked(("a", 1), ("b", 1)), [Reason.BAD_REJECTED]),
        (ranked(), [Reason.EMPTY_RESPONSE]),
        (ranked(("a", 1), ("b", None)), [Reason.MALFORMED_RECORD]),
        (ranked(("a", 1), ("b", float("nan"))), [Reason.MALFORMED_RECORD]),
        (ranked(("a", True), ("b", False)), [Reason.MALFORMED_RECORD]),
        (ranked(("a", 1), ("A", 0), ("b", 0)), [Reason.EQUAL_REJECTED, None]),
        (ranked(("a", 10**400), ("b", 0.5)), [None]),
        (ranked(("a", 1), ("b", 0), prompt="<image> <image> q"), [Reason.SEVERAL_IMAGES]),
        ({"image": "a.png", "prompt": "q", "completions": "text"}, [Reason.MALFORMED_RECORD]),
    ],
)  # fmt: skip
def test_what_is_refused_says_why(record, expected):
    assert reasons(record) == expected


def test_a_refused_row_keeps_what_could_be_read():
    (found,) = read_turns(pair(rejected="a cat"))
    assert (found.question, found.answer, found.rejected) == (Q, CHOSEN, "a cat")
    (found,) = read_turns(povid(("q", "a"), ("other", "b")))
    assert (found.question, found.answer, found.rejected) == ("q", "a", "b")
    assert found.refusal.detail == "the rejected conversation has another question here"


def test_a_turn_that_differs_in_case_and_punctuation_alone_has_no_rejected_answer():
    record = povid(("q", "a", "q2", "Yes."), ("q", "b", "q2", "yes"))
    assert texts(record) == (("q", "a", "b"), ("q2", "Yes.", None))


def test_a_text_beside_another_layout_is_not_looked_into():
    assert texts(pair(text="no JSON")) == ((Q, CHOSEN, REJECTED),)
    assert texts(pair(text={"question": "other"})) == ((Q, CHOSEN, REJECTED),)


def test_an_image_without_bytes_and_path_gives_way_to_the_path_beside_it():
    (found,) = read_turns(pair(image={"bytes": None, "path": None}, image_path="b.png", idx=7))
    assert (found.image, found.source_id) == ("b.png", "7")


def test_completions_are_paired_by_score_whatever_their_order():
    record = ranked(("worst", 0), ("best", 2), ("middle", 1))
    assert texts(record) == (
        ("q", "best", "worst"), ("q", "middle", "worst"), ("q", "best", "middle")
    )  # fmt: skip


def test_a_bad_pair_leaves_its_neighbours():
    found = read_turns(ranked(("a", 1), ("", 0), ("b", 0)))
    assert [turn.turn for turn in found] == [0, 1]
    assert isinstance(found[0], RefusedTurn) and found[0].refusal.detail == "no rejected text"
    assert isinstance(found[1], RawSample) and found[1].rejected == "b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{SYSTEM} USER: <image>\n{Q} ASSISTANT:", f"<image>\n{Q}"),
        ("USER: <image>\nq ASSISTANT:", "<image>\nq"),
        (f"{SYSTEM} USER: q1 ASSISTANT: a1</s>USER: q2 ASSISTANT: ", "q2"),
        ("Who is the USER: me or ASSISTANT:", "Who is the USER: me or ASSISTANT:"),
        ("USER: is this one?", "USER: is this one?"),
        ("A chat between a curious two ASSISTANT:", "A chat between a curious two ASSISTANT:"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_chat_template_around_a_question_is_removed(text, expected):
    assert without_template(text) == expected


def test_a_question_of_a_plain_record_is_never_taken_for_a_template():
    plain = {"image": "a.png", "conversations": llava("USER: q ASSISTANT:", "a")}
    assert texts(plain) == (("USER: q ASSISTANT:", "a", None),)


KEYS = st.sampled_from(
    ["image", "image_path", "text", "prompt", "question", "chosen", "rejected", "answer",
     "conversations", "rejected_conversations", "messages", "completions", "score", "response",
     "from", "value", "role", "content", "type"]
)  # fmt: skip
VALUES = st.sampled_from(
    [
        "human",
        "gpt",
        "user",
        "assistant",
        "<image>",
        "a.png",
        "a",
        "A.",
        '{"question": 1}',
        "\ud800",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | VALUES | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=8,
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": JSON}),
    max_size=5,
) | st.lists(
    st.fixed_dictionaries({"from": st.sampled_from(["human", "gpt"]), "value": VALUES}), max_size=5
)
SIDES = MESSAGES | JSON
RECORDS = st.fixed_dictionaries(
    {"image": st.just("a.png") | JSON},
    optional={
        "conversations": SIDES, "rejected_conversations": SIDES, "prompt": SIDES, "chosen": SIDES,
        "rejected": SIDES, "question": JSON, "text": JSON, "answer": JSON,
        "completions": st.lists(st.fixed_dictionaries({"response": VALUES, "score": JSON})) | JSON,
    },
)  # fmt: skip


@given(RECORDS | st.dictionaries(KEYS, JSON, max_size=6))
def test_no_record_raises_and_none_is_lost(record):
    found = read_turns(record)
    assert found
    assert [turn.turn for turn in found] == list(range(len(found)))
    for turn in found:
        (turn.question + turn.answer + (turn.rejected or "")).encode()
        if isinstance(turn, RawSample) and turn.rejected is not None:
            assert turn.rejected == turn.rejected.strip() != ""
            assert "<image>" not in turn.rejected
            assert normalised(turn.rejected) != normalised(turn.answer)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=5))
def test_a_turn_has_a_rejected_answer_where_the_two_sides_differ(answers):
    """All equal is the exception: then the last turn is refused as equal."""
    sides = [
        [text for turn, answer in enumerate(side) for text in (f"q{turn}", answer)]
        for side in zip(*answers, strict=True)
    ]
    found = read_turns(povid(*sides))
    rejected = [other if one != other else None for one, other in answers]
    if any(rejected):
        assert [turn.rejected for turn in found] == rejected
        assert all(isinstance(turn, RawSample) for turn in found)
    else:
        assert reasons(povid(*sides)) == [None] * (len(answers) - 1) + [Reason.EQUAL_REJECTED]
