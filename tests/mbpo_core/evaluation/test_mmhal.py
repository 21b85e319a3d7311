"""MMHal-Bench against the official figures and against its definition.

The template in `shared_data` is real, the reviews beside it are synthetic; all other data is too.
"""

import json
import logging
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation import mmhal
from mbpo_core.evaluation.join import join
from mbpo_core.evaluation.protocol import BenchmarkError
from tests.mbpo_core.evaluation.judged import figures, file, review, scored


def record(place, **changes):
    return {
        "question_type": mmhal.TYPES[place % 8], "image_id": f"{place:016x}",
        "image_src": f"https://host/{place}_o.jpg", "image_content": ["Cat", "Dog"],
        "question": f"What is in picture {place // 2}?", "gt_answer": f"Answer {place}.",
        "model_answer": "",
    } | changes  # fmt: skip


def completions(texts):
    return [{"choices": [{"message": {"content": text}}], "model": "gpt-4-0314"} for text in texts]


def template(n=96, **changes):
    return mmhal.load([file([record(i, **changes) for i in range(n)])])


@pytest.fixture(scope="module")
def real(shared_data):
    folder = shared_data / "eval" / "mmhal"
    if not folder.is_dir():
        pytest.skip(f"no MMHal-Bench in {folder}")
    names = ("mmhal-bench_answer_template", "synthetic_reviews", "expected")
    return [json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in names]


def test_official_figures_of_the_stored_synthetic_reviews(real):
    questions, reviews, expected = real
    bench = mmhal.load([file(questions)])
    answers = scored(bench, mmhal.reviews(bench.questions, file(reviews)))
    found = figures(mmhal.blocks(answers))
    assert f"{found['all', 'average_score']:.2f}" == f"{expected['average_score']:.2f}"
    assert f"{found['all', 'hallucination_rate']:.2f}" == f"{expected['hallucination_rate']:.2f}"
    assert f"{found['all', 'informativeness']:.2f}" == f"{expected['informativeness']:.2f}"
    per_type = [round(found[kind, "average_score"], 2) for kind in mmhal.TYPES]
    assert per_type == expected["per_type"]
    unread = [i for i, answer in enumerate(answers) if answer.score.extracted is None]
    assert unread == expected["items_with_zero_or_multiple_scores"]


def test_the_types_follow_the_place_in_the_real_template(real):
    questions = real[0]
    untyped = [{k: v for k, v in q.items() if k != "question_type"} for q in questions]
    kinds = [[q.kind for q in mmhal.load([file(r)]).questions] for r in (questions, untyped)]
    assert kinds[0] == kinds[1] == [q["question_type"] for q in questions]


def test_shuffled_real_answers_find_their_questions(real):
    """Some questions share their text with another; the image tells them apart."""
    bench = mmhal.load([file(real[0])])
    answers = [q | {"model_answer": f"to {q['image_id']}"} for q in real[0]]
    random.Random(0).shuffle(answers)
    for drop in ((), ("image_id",), ("image_src",)):
        kept = [{k: v for k, v in a.items() if k not in drop} for a in answers]
        joined = join(bench.questions, kept, mmhal.KEYS, fields=mmhal.fields)
        assert joined.responses == {q.question_id: f"to {q.question_id}" for q in bench.questions}


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("- Explanation: fine.\n- Rating: 4, somewhat informative", 4),
        ("RATING: 6", 6),
        ("Rating: 2 ... as I said, rating: 2", 2),
        ("Rating: 4.5", 4),
        ("Rating: 10", 1),
        ("**Rating**: 4", None),
        ("Rating:4", None),
        ("Rating:  4", None),
        ("Rating: 7", None),
        ("4", None),
        ("", None),
        ("Rating: 5 ... on reflection Rating: 2", None),
    ],
)
def test_a_rating_counts_iff_it_is_the_only_one_in_the_official_form(text, rating, caplog):
    bench = template(1)
    with caplog.at_level(logging.WARNING, mmhal.__name__):
        score = bench.score(bench.questions[0], "x", review(text))
    assert score.points == (rating or 0) and score.correct == ((rating or 0) >= 3)
    assert score.extracted == (None if rating is None else str(rating))
    assert score.reason is None
    assert [bench.questions[0].question_id in r.getMessage() for r in caplog.records] == (
        [True] if rating is None else []
    )


def test_without_a_review_there_is_no_score():
    bench = template(1)
    score = bench.score(bench.questions[0], "x")
    assert score.points is None and score.correct is None and score.reason == "unjudged:no_review"


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_figures_are_those_of_the_definition(given_ratings):
    bench = template(len(given_ratings))
    texts = [f"Rating: {r}" for r in given_ratings]
    stored = mmhal.reviews(bench.questions, file(completions(texts)))
    found = figures(mmhal.blocks(scored(bench, stored)))
    n = len(given_ratings)
    assert found["all", "average_score"] == sum(given_ratings) / n
    assert found["all", "hallucination_rate"] == sum(r in (0, 1, 2) for r in given_ratings) / n
    steps = {0: 0, 1: 1, 2: 2, 3: 0, 4: 1, 5: 2, 6: 3}
    percent = 100 * sum(steps[r] for r in given_ratings) / (3 * n)
    assert found["all", "informativeness"] == pytest.approx(percent)
    for place, kind in enumerate(mmhal.TYPES[:n]):
        own = given_ratings[place::8]
        assert found[kind, "average_score"] == sum(own) / len(own)


def test_the_type_is_the_questions_own_in_a_shuffled_file():
    records = [record(i) for i in range(96)]
    random.Random(1).shuffle(records)
    bench = mmhal.load([file(records)])
    assert [q.kind for q in bench.questions] == [r["question_type"] for r in records]
    assert [q.kind for q in bench.questions] != [mmhal.TYPES[i % 8] for i in range(96)]


def test_reviews_in_official_order_need_questions_in_official_order():
    records = [record(i) for i in range(16)]
    bench = mmhal.load([file(records[1:] + records[:1])])
    with pytest.raises(BenchmarkError, match=r"names no questions.*question 1 is of type"):
        mmhal.reviews(bench.questions, file(completions(["Rating: 1"] * 16), "reviews.json"))


@pytest.mark.parametrize("n", [0, 15, 17])
def test_reviews_in_official_order_are_exactly_one_a_question(n):
    bench = template(16)
    with pytest.raises(BenchmarkError, match=rf"reviews\.json.*{n} completions for 16 questions"):
        mmhal.reviews(bench.questions, file(completions(["Rating: 1"] * n), "reviews.json"))


def test_reviews_in_the_merged_template_are_found_by_content():
    bench = template(16)
    records = [record(i, gpt4_review=f"Rating: {i % 7}") for i in range(16)][::-1]
    found = mmhal.reviews(bench.questions, file(records))
    assert [found[q.question_id].text for q in bench.questions] == (
        [f"Rating: {i % 7}" for i in range(16)]
    )


def test_the_request_is_the_official_prompt_with_the_fields_put_in_literally():
    bench = template(1, question="Is {0} {} there?", gt_answer="{gold}")
    request = bench.request(bench.questions[0], "{} {3} %s")
    (message,) = request.messages
    assert (message["role"], request.temperature, request.max_tokens) == ("user", 0.0, None)
    tail = message["content"].rpartition("### Image Contents\n")[2]
    assert tail == (
        "Cat, Dog\n\n### Question\nIs {0} {} there?\n\n"
        "### Standard Human-Generated Answer\n{gold}\n\n"
        "### LMM Response to Evaluate\n{} {3} %s\n"
    )
    assert message["content"].startswith("Please act as an impartial and objective judge")


@pytest.mark.parametrize("cell", ["['Cat', 'Dog']", '["Cat", "Dog"]', "Cat, Dog"])
def test_a_table_may_hold_the_contents_in_one_cell(cell):
    bench = template(1, image_content=cell)
    assert "\nCat, Dog\n" in bench.request(bench.questions[0], "x").messages[0]["content"]


def test_questions_as_rows_with_pictures():
    rows = [record(0, image={"bytes": b"jpeg", "path": None}), record(1)]
    images = [q.image for q in mmhal.load([file(rows)]).questions]
    assert images == [b"jpeg", "1_o.jpg"]


def test_numbers_of_an_answer_file_are_no_question_ids():
    bench = template(2)
    answers = [record(i, question_id=1 - i, model_answer=f"to {i}") for i in range(2)]
    joined = join(bench.questions, answers, mmhal.KEYS, fields=mmhal.fields)
    assert joined.responses == {f"{i:016x}": f"to {i}" for i in range(2)}


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "needs mmhal-bench_answer_template.json"),
        ({"a": 1}, "expected a list of records, got dict"),
        ([{"question": "x"}], "question 1 needs image_id"),
        ([record(0), record(0)], "stands twice"),
        ([record(i, question_type="") for i in range(8)], "all 96 questions are needed"),
    ],
)
def test_files_that_do_not_make_the_benchmark(records, message):
    with pytest.raises(BenchmarkError, match=message):
        mmhal.load([file(records)])
