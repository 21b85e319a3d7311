"""What holds for every benchmark that is scored without a judge, on small synthetic files."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbpo_core.evaluation.benchmarks import BENCHMARKS
from mbpo_core.evaluation.join import join
from mbpo_core.evaluation.protocol import Review, SourceFile
from mbpo_core.evaluation.statistics import differences, estimates
from tests.mbpo_core.evaluation.published import scored, values


def choice(number, **record):
    return {"index": number, "question": f"Which is {number}?", "A": "cat", "B": "dog", "C": "bus",
            "answer": "ABC"[number % 3], "category": "ab"[number % 2], **record}  # fmt: skip


FILES = {
    "pope": SourceFile("coco_pope_random.json", [
        {"image": f"{i // 2}.jpg", "text": f"Is there {i}?", "label": "no" if i % 2 else "yes"}
        for i in range(8)
    ]),
    "mme": SourceFile("count.txt", "".join(
        f"{i // 2}.jpg\tIs there {i}? Please answer yes or no.\t{'No' if i % 2 else 'Yes'}\n"
        for i in range(8)
    )),
    "amber-discriminative": SourceFile("AMBER.tsv", [
        {"index": i, "question": f"Is it {i}?", "answer": "no" if i % 2 else "yes",
         "category": "discriminative-attribute-state", "image": f"{i // 2}.jpg"} for i in range(8)
    ]),
    "hallusion_bench": SourceFile("HallusionBench.json", [
        {"category": "VS" if i < 4 else "VD", "subcategory": "chart", "visual_input": str(i % 3),
         "set_id": "0", "figure_id": str(i // 2), "question_id": str(i % 2), "question": f"Is {i}?",
         "gt_answer": str(i % 2), "gt_answer_details": "It is."} for i in range(8)
    ]),
    "ai2d": SourceFile("AI2D_TEST.tsv", [choice(i) for i in range(8)]),
    "mmstar": SourceFile("MMStar.tsv", [choice(i, l2_category=f"l{i % 3}") for i in range(8)]),
    "mmbench": SourceFile("MMBench.tsv", [choice(i // 2 + i % 2 * 1_000_000) for i in range(8)]),
    "scienceqa": SourceFile("problems.json", {
        str(i): {"question": f"Which {i}?", "choices": ["cat", "dog", "bus"], "answer": i % 3,
                 "grade": f"grade{i + 1}", "subject": "natural science"} for i in range(8)
    }),
    "multiple_choice": SourceFile("data.json", [choice(i) for i in range(8)]),
}  # fmt: skip
LOADED = {name: BENCHMARKS[name].load([file]) for name, file in FILES.items()}
LOADED["hallusion_bench-judge"] = BENCHMARKS["hallusion_bench-judge"].load(
    [FILES["hallusion_bench"]]
)
RESPONSES = ["Yes", "no", "B", "(A)", "C. bus", "", "dog", "The answer is A.", "I do not know"]


@pytest.mark.parametrize("name", LOADED)
@settings(max_examples=60, deadline=None)
@given(response=st.text(max_size=80) | st.sampled_from(RESPONSES), review=st.text(max_size=20))
def test_no_response_and_no_review_raises(name, response, review):
    benchmark = LOADED[name]
    for question in benchmark.questions:
        score = benchmark.score(question, response, Review(review, "", ""))
        assert score.correct is not None and score.points == float(score.correct)
        assert score.rule, "how it was read must be told"
        assert json.loads(json.dumps(score.facts)) == score.facts


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=20, deadline=None)
@given(said=st.lists(st.sampled_from(RESPONSES), min_size=8, max_size=8), rng=st.randoms())
def test_the_order_of_answers_changes_no_figure_and_no_interval_of_a_difference(name, said, rng):
    """The join is by content; the same answers differ from themselves by nothing."""
    benchmark, definition = LOADED[name], BENCHMARKS[name]
    records = [
        {**q.join, "category": q.kind, "prompt": q.text, "response": response}
        for q, response in zip(benchmark.questions, said, strict=True)
    ]
    shuffled = rng.sample(records, 8)
    one, other = (
        definition.blocks(scored(benchmark, join(
            benchmark.questions, each, definition.keys, fields=definition.fields
        ).responses))
        for each in (records, shuffled)
    )  # fmt: skip
    assert values(one) == values(other)
    for a, b in zip(one, other, strict=True):
        for _, found in differences(a, b, draws=5, seed=0):
            assert found.difference in (0, None)


@pytest.mark.parametrize("name", FILES)
def test_questions_are_unique_and_say_what_is_asked(name):
    questions = LOADED[name].questions
    assert len({q.question_id for q in questions}) == len(questions) == 8
    for question in questions:
        assert question.prompt and question.answer and question.benchmark == name
        assert question.closed_kind in ("yes_no", "multiple_choice")
        letters = [letter for letter, _ in question.options]
        assert question.closed_answer in (letters or ["yes", "no"])


@pytest.mark.parametrize("name", LOADED)
def test_blocks_of_nothing_have_no_figure_with_a_value(name):
    for block in BENCHMARKS[name].blocks([]):
        for _, estimate in estimates(block, draws=5, seed=0):
            assert estimate.value is None and estimate.n == 0


@pytest.mark.parametrize("name", LOADED)
def test_right_answers_are_worth_full_marks(name):
    """Gold answers in the words that every rule reads; the judge says that they are correct."""
    benchmark = LOADED[name]
    for question in benchmark.questions:
        gold = {"yes": "Yes", "no": "No"}.get(question.answer, question.answer)
        assert benchmark.score(question, gold, Review("correct", "", "")).correct is True


def test_a_part_of_the_answers_has_an_interval_that_holds_its_value():
    rng = random.Random(0)
    for name in FILES:
        answers = scored(LOADED[name], {
            q.question_id: rng.choice(["Yes", "No", "A", "B"]) for q in LOADED[name].questions
        })  # fmt: skip
        for block in BENCHMARKS[name].blocks(answers[:5]):
            for figure, estimate in estimates(block, draws=50, seed=0):
                if estimate.value is not None and estimate.method == "wilson":
                    assert estimate.low <= estimate.value <= estimate.high, (name, figure.metric)
