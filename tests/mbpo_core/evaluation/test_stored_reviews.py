"""Stored judge output of every form, and the identity of a request; all data is synthetic."""

import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation import stored_reviews
from mbpo_core.evaluation.benchmarks import BENCHMARKS
from mbpo_core.evaluation.judge import next_request, prompt_text, request_id, unjudged
from mbpo_core.evaluation.protocol import BenchmarkError, JudgeRequest, Question, Review
from tests.mbpo_core.evaluation.judged import file

QUESTIONS = [
    Question(f"q{i}", "b", "k", f"Text {i}?", "p", join={"set": str(i // 2), "number": str(i % 2)})
    for i in range(4)
]
JUDGED = [name for name, definition in BENCHMARKS.items() if definition.judged]


def line(place, **changes):
    return {"question_id": f"q{place}", "text": f"review {place}", "model": "judge-1",
            "asked_at": "2026-01-02T03:04:05+00:00"} | changes  # fmt: skip


def test_our_own_lines_come_back_as_they_were_written():
    records = [line(3, grades=[8, 9.5]), line(0)]
    found = stored_reviews.own(QUESTIONS, file(records))
    assert found == {
        "q3": Review("review 3", "judge-1", "2026-01-02T03:04:05+00:00", (8.0, 9.5)),
        "q0": Review("review 0", "judge-1", "2026-01-02T03:04:05+00:00"),
    }


def test_a_line_without_text_is_no_review():
    assert set(stored_reviews.own(QUESTIONS, file([line(0, text=None), line(1)]))) == {"q1"}


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([line(9)], r"reviews\.jsonl: review 1 is of question 'q9'"),
        ([line(0), line(0, text="other")], "question q0 has two different reviews"),
        ([{"question_id": "q0", "text": "x"}], "a review needs question_id, text, model, asked_at"),
        ([line(0, grades=["8"])], "line 1: expected a list of numbers"),
        ("text", r"reviews\.jsonl: expected a list of records, got str"),
        ([["a"]], "expected a list of records"),
    ],
)
def test_lines_that_do_not_fit(records, message):
    with pytest.raises(BenchmarkError, match=message):
        stored_reviews.own(QUESTIONS, file(records, "reviews.jsonl"))


@pytest.mark.parametrize("name", JUDGED)
def test_every_judged_benchmark_reads_our_own_lines(name):
    questions = [replace(q, benchmark=name) for q in QUESTIONS]
    found = BENCHMARKS[name].reviews(questions, file([line(1)]))
    assert {key: review.text for key, review in found.items()} == {"q1": "review 1"}


@pytest.mark.parametrize(
    ("completion", "text", "model", "asked_at"),
    [
        ({"choices": [{"message": {"content": "a"}}]}, "a", "", ""),
        ({"choices": [{"message": {"content": None}}], "created": "now"}, "", "", ""),
        ({"choices": [{"message": {"content": "a"}}], "model": "gpt-4-0314",
          "created": 1_700_000_000}, "a", "gpt-4-0314", "2023-11-14T22:13:20+00:00"),
    ],
)  # fmt: skip
def test_a_chat_completion_says_who_judged_and_when(completion, text, model, asked_at):
    found = stored_reviews.completion(completion, "here")
    assert found == Review(text, model, asked_at)


@pytest.mark.parametrize("broken", [{}, {"choices": []}, {"choices": [{}]}, {"choices": None}])
def test_what_is_no_chat_completion_is_named(broken):
    records = [{"choices": [{"message": {"content": "a"}}]}] * 3 + [broken]
    with pytest.raises(BenchmarkError, match=r"r\.json, review 4: no chat completion"):
        stored_reviews.completions_in_order(QUESTIONS, file(records, "r.json"))


KEYS = (("set", "number"),)


def fields(record):
    return {name: str(record[name]) for name in ("set", "number")}


def sample(place, check):
    return {"set": place // 2, "number": place % 2, "model_prediction": "Yes",
            "gpt4v_output_gpt_check": check}  # fmt: skip


def test_checks_of_hallusion_bench_become_the_words_they_were_read_from():
    records = [sample(2, "0"), sample(0, "1"), sample(1, 2), sample(3, None)]
    found = stored_reviews.hallusion_checks(QUESTIONS, file(records), KEYS, fields)
    words = {name: review.text for name, review in found.items()}
    assert words == {"q2": "incorrect", "q0": "correct", "q1": "unclear"}


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([sample(0, "3")], "must be 0, 1 or 2, got '3'"),
        ([{"set": 0, "number": 0}], "no sample has a field ending in `_gpt_check`"),
        ([sample(0, "1"), sample(8, "1")], "1 of 2 reviews are of no question"),
        ([sample(0, "1"), sample(0, "0")], "question q0 has 2 different answers"),
    ],
)
def test_checks_that_do_not_fit(records, message):
    with pytest.raises(BenchmarkError, match=message):
        stored_reviews.hallusion_checks(QUESTIONS, file(records), KEYS, fields)


MESSAGES = ({"role": "user", "content": "Hä?"},)


def test_equal_requests_have_one_id_and_any_difference_another():
    request = JudgeRequest(MESSAGES, temperature=0.0, max_tokens=3)
    same = JudgeRequest(({"content": "Hä?", "role": "user"},), temperature=0, max_tokens=3)
    assert request_id("m", request) == request_id("m", same)
    others = [
        ("n", request), ("m", replace(request, temperature=0.5)),
        ("m", replace(request, max_tokens=None)), ("m", replace(request, messages=MESSAGES * 2)),
        ("m", replace(request, messages=({"role": "system", "content": "Hä?"},))),
    ]  # fmt: skip
    ids = [request_id("m", request), *(request_id(*other) for other in others)]
    assert len(set(ids)) == len(ids) and all(len(i) == 64 for i in ids)


@given(st.text(st.characters(), max_size=20))
def test_any_text_has_an_id(text):
    request = JudgeRequest(({"role": "user", "content": text + "\ud800"},))
    assert request_id("m", request) == request_id("m", request)


def test_a_benchmark_that_does_not_insist_asks_once():
    class Once:
        def request(self, question, response):
            return JudgeRequest(MESSAGES)

    assert next_request(Once(), QUESTIONS[0], "x") == JudgeRequest(MESSAGES)
    assert next_request(Once(), QUESTIONS[0], "x", [Review("?", "", "")]) is None


def test_what_is_not_judged_has_a_reason_and_no_points():
    score = unjudged("timeout")
    assert score.reason == "unjudged:timeout" and score.points is None and score.correct is None


@pytest.mark.parametrize("name", JUDGED)
def test_a_prompt_begins_after_the_heading_of_its_file(name):
    text = prompt_text(name)
    assert len(text) > 500 and not text.startswith(("#", "\n"))
    assert "Source:" not in text and "Licence:" not in text


def test_the_prompt_of_mmhal_has_its_four_fields_once_each():
    text = prompt_text("mmhal")
    filled = text.format(*"ABCD")
    assert text.count("{}") == 4 and json.dumps(text).count("{") == 4
    tail = filled.rpartition("### Image Contents\n")[2]
    order = [tail.index(f"\n{letter}\n") for letter in "BCD"]
    assert tail.startswith("A\n") and all(a < b for a, b in itertools.pairwise(order))
