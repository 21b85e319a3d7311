import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation.join import (
    join,
    response_of,
    same_image,
    same_text,
    usual_fields,
)
from mbpo_core.evaluation.protocol import BenchmarkError, Question

KEYS = (("question_id",), ("split", "image", "text"), ("image", "text"))


def question(number, split="random", text="Is there a cat?", image="7"):
    return Question(
        f"{split}/{number}", "b", split, text, text,
        join={"question_id": str(number), "split": split, "image": image, "text": same_text(text)},
    )  # fmt: skip


A, B = question(1), question(2, text="Is there a dog?")
TWICE = [question(1), question(3, split="popular")]
"""One question that is asked in two splits."""


@given(st.permutations([1, 2]))
def test_answers_find_their_question_whatever_their_order(order):
    records = [{"question_id": n, "response": f"answer {n}"} for n in order]
    assert join([A, B], records, KEYS).responses == {
        "random/1": "answer 1", "random/2": "answer 2"
    }  # fmt: skip


def test_the_first_key_that_a_record_has_names_the_question():
    records = [
        {"question": "is there a  CAT?\nAnswer the question using a single word or phrase.",
         "image": "val2014/COCO_val2014_000000000007.jpg", "answer": "yes"},
        {"question_id": 2, "text": "no"},
    ]  # fmt: skip
    assert join([A, B], records, KEYS).responses == {"random/1": "yes", "random/2": "no"}


def test_a_field_that_contradicts_the_question_is_another_set_of_questions():
    with pytest.raises(BenchmarkError, match="answer 1 is to question random/1, but its text is"):
        join([A, B], [{"question_id": 1, "prompt": "Is there a dog?", "text": "no"}], KEYS)


def test_one_question_in_two_splits():
    both = join(TWICE, [{"question": "Is there a cat?", "image": 7, "response": "yes"}], KEYS)
    assert set(both.responses.values()) == {"yes"} and len(both.responses) == 2
    records = [{"question": "Is there a cat?", "image": 7, "response": r} for r in ("yes", "no")]
    with pytest.raises(BenchmarkError, match=r"2 different answers.*must name theirs"):
        join(TWICE, records, KEYS)
    named = [{**r, "category": q.kind} for r, q in zip(records, TWICE, strict=True)]
    assert join(TWICE, named, KEYS).responses == {"random/1": "yes", "popular/3": "no"}


def test_repeated_answers_are_counted_and_different_ones_refused():
    records = [{"question_id": 1, "response": "yes"}] * 2
    joined = join([A], records, KEYS)
    assert joined.responses == {"random/1": "yes"} and joined.repeated == 1
    with pytest.raises(BenchmarkError, match="random/1 has 2 different answers"):
        join([A], [records[0], {"question_id": 1, "response": "no"}], KEYS)


def test_missing_and_unknown_answers():
    records = [{"question_id": 1, "response": "yes"}, {"question_id": 9, "response": "no"}]
    with pytest.raises(BenchmarkError, match=r"1 of 2 questions.*\(random/2\); 1 of 2 answers"):
        join([A, B], records, KEYS)
    joined = join([A, B], records, KEYS, partial=True)
    assert joined.missing == ["random/2"] and joined.unknown == ["answer 2 (question_id=9)"]
    with pytest.raises(BenchmarkError, match=r"none of 1 answers.*another benchmark"):
        join([A, B], records[1:], KEYS, partial=True)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"question_id": 1}, "none of the fields response, prediction"),
        ({"response": "yes"}, "needed are question_id or split, image, text"),
        ("yes", "is no record"),
    ],
)
def test_records_that_cannot_be_used(record, message):
    with pytest.raises(BenchmarkError, match=message):
        join([A], [record], KEYS)


@pytest.mark.parametrize(
    ("record", "response"),
    [
        ({"question_id": 1, "prompt": "?", "text": "an answer"}, "an answer"),
        ({"text": "a question", "answer": "an answer"}, "an answer"),
        ({"question": "?", "answer": "gold", "prediction": "said"}, "said"),
        ({"filtered_resps": ["said"], "target": "gold"}, "said"),
        ({"prediction": float("nan")}, ""), ({"prediction": None}, ""), ({"prediction": ""}, ""),
        ({"prediction": 3}, "3"), ({"prediction": ["a", "b"]}, None), ({"other": "x"}, None),
    ],
)  # fmt: skip
def test_where_published_files_keep_the_answer(record, response):
    assert response_of(record) == response


def test_the_fields_of_a_question():
    assert usual_fields({"index": 0, "query": "A  b", "image_id": 42, "category": "x"}) == {
        "question_id": "0", "text": "a b", "image": "42", "split": "x",
    }  # fmt: skip
    assert usual_fields({"image": {"bytes": b""}, "question": None, "id": True}) == {}


@pytest.mark.parametrize(
    "name",
    ["COCO_val2014_000000000042.jpg", "val2014/COCO_val2014_000000000042.JPG", "000000000042.png",
     "42", 42, r"images\42.webp"],
)  # fmt: skip
def test_names_of_one_coco_image(name):
    assert same_image(name) == "42"


def test_other_names_of_images_are_kept():
    assert same_image("AMBER_12.jpg") == "AMBER_12"
    assert same_image("v1.2/a.b.png") == "a.b"
    assert same_image("0") == "0"


@given(st.text(alphabet="ab \n?", max_size=20))
def test_instructions_and_spaces_are_no_part_of_a_question(text):
    asked = f"<image>\n{text}  Please answer yes or no."
    assert same_text(asked) == same_text(text) == same_text(same_text(text))
