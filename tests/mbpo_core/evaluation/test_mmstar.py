"""Synthetic questions in the forms of MMStar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation import mmstar
from mbpo_core.evaluation.join import join
from mbpo_core.evaluation.protocol import BenchmarkError, SourceFile
from tests.mbpo_core.evaluation.published import figures, scored, values

TEXTS = [
    "What is it?\nOptions: A: cat, B: dog, C: bus, D: car",
    "How many?\nChoices:\n(A) 1\n(B) 2\n(C) 3",
    "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at "
    "the end.\nQuestion: Is it <image 1>?\nOptions: A: Yes, B: No",
]
AXES = [("math", "geometry"), ("math", "geometry"), ("math", "statistical reasoning"),
        ("coarse perception", "image emotion"), ("coarse perception", "image emotion"),
        ("coarse perception", "image emotion"), ("math", "geometry")]  # fmt: skip
RECORDS = [
    {"index": i, "question": TEXTS[i % 3] + " " * i, "answer": "AB"[i % 2], "category": category,
     "l2_category": l2, "image": {"bytes": b"x", "path": None}, "meta_info": {"source": "s"}}
    for i, (category, l2) in enumerate(AXES)
]  # fmt: skip
BENCHMARK = mmstar.load([SourceFile("mmstar.parquet", RECORDS)])


@given(st.lists(st.booleans(), min_size=7, max_size=7))
def test_the_two_averages(right):
    """`accuracy` is micro over all answers, `average_l2` the mean of the axes' accuracies."""
    said = {str(i): RECORDS[i]["answer"] if ok else "none" for i, ok in enumerate(right)}
    found = values(mmstar.blocks(scored(BENCHMARK, said)))
    axes = {}
    for axis, ok in zip(AXES, right, strict=True):
        axes.setdefault(axis, []).append(ok)
    means = {axis: sum(oks) / len(oks) for axis, oks in axes.items()}
    assert found["all", "accuracy"] == pytest.approx(sum(right) / 7)
    assert found["all", "average_l2"] == pytest.approx(sum(means.values()) / 3)
    assert found["math(geometry)", "accuracy"] == pytest.approx(means["math", "geometry"])
    math = axes["math", "geometry"] + axes["math", "statistical reasoning"]
    assert found["math", "accuracy"] == pytest.approx(sum(math) / len(math))


def test_the_averages_differ_where_axes_differ_in_size():
    """Right on the one question of the smallest axis and wrong elsewhere: 1/7 against 1/3."""
    said = {str(i): RECORDS[i]["answer"] if i == 2 else "none" for i in range(7)}
    found = figures(mmstar.blocks(scored(BENCHMARK, said)))
    assert found["all", "accuracy"].value == 1 / 7 and found["all", "accuracy"].method == "wilson"
    assert found["all", "average_l2"].value == pytest.approx(1 / 3)
    assert found["all", "average_l2"].n == 7


def test_the_prompt_is_lmms_evals_without_a_full_stop():
    question = BENCHMARK.questions[0]
    assert question.prompt == TEXTS[0] + (
        "\nAnswer with the option's letter from the given choices directly"
    )
    assert question.image == b"x"


def test_options_in_columns_are_shown_and_are_the_same_question():
    """Another release has them beside the question instead of in it."""
    row = {**RECORDS[0], "question": "What is it?", "A": "cat", "B": "dog", "C": "bus", "D": "car"}
    other = mmstar.load([SourceFile("MMStar.tsv", [row])])
    assert other.questions[0].join == BENCHMARK.questions[0].join
    assert "What is it?\nOptions:\nA. cat\nB. dog\nC. bus\nD. car\nAnswer" in (
        other.questions[0].prompt
    )


def test_answers_join_by_index_and_are_refused_where_the_question_is_another():
    records = [{"index": r["index"], "question": r["question"], "answer": r["answer"],
                "prediction": "A"} for r in reversed(RECORDS)]  # fmt: skip
    joined = join(BENCHMARK.questions, records, mmstar.KEYS, fields=mmstar.fields)
    assert set(joined.responses.values()) == {"A"}
    log = [{"doc_id": i, "input": q.prompt, "filtered_resps": ["B"], "target": "A"}
           for i, q in enumerate(BENCHMARK.questions)]  # fmt: skip
    joined = join(BENCHMARK.questions, log, mmstar.KEYS, fields=mmstar.fields)
    assert set(joined.responses.values()) == {"B"}
    with pytest.raises(BenchmarkError, match="its text is 'what else"):
        join(BENCHMARK.questions, [{**records[0], "question": "What else?"}, *records[1:]],
             mmstar.KEYS, fields=mmstar.fields)  # fmt: skip


def test_an_answer_that_cannot_be_read_is_wrong_and_recognisable():
    score = BENCHMARK.score(BENCHMARK.questions[0], "It is a cat")
    assert score.correct is False and score.extracted is None and score.rule == "unparseable"
    score = BENCHMARK.score(BENCHMARK.questions[0], "an animal")
    assert score.correct is True and score.rule == "first_character"  # as the official rule


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "mmstar needs records"),
        ([{**RECORDS[0], "l2_category": None}], "without l2_category"),
        ([{**RECORDS[0], "answer": "E"}], "one of A, B, C, D, got 'E'"),
        ([RECORDS[0], RECORDS[0]], "an index stands twice"),
    ],
)
def test_bad_files_are_refused(records, message):
    with pytest.raises(BenchmarkError, match=message):
        mmstar.load([SourceFile("mmstar.tsv", records)])
