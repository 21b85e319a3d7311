"""MM-Vet against its definition; all data is synthetic."""

import base64
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation import mm_vet
from mbpo_core.evaluation.join import join
from mbpo_core.evaluation.judge import next_request
from mbpo_core.evaluation.protocol import BenchmarkError
from tests.mbpo_core.evaluation.judged import figures, file, review, scored

SETS = (["rec"], ["ocr", "math"], ["gen", "know", "rec"], ["math", "ocr"], ["spat", "ocr"])
PICTURE = bytes(range(60))


def entry(place, **changes):
    return {
        "imagename": f"v1_{place // 2}.png", "question": f"What is {{{place}}}?",
        "answer": "-1<AND>-5<OR>x", "imagesource": "somewhere",
        "capability": SETS[place % len(SETS)],
    } | changes  # fmt: skip


def official(n=5, **changes):
    return {f"v1_{i}": entry(i, **changes) for i in range(n)}


def loaded(n=5, **changes):
    return mm_vet.load([file(official(n, **changes), "mm-vet.json")])


def grade_file(grades):
    """Grades `[questions][runs]` in the official form."""
    return {
        f"v1_{i}": {"model": ["gpt-4"] * len(g), "content": [str(x) for x in g], "score": list(g)}
        for i, g in enumerate(grades)
    }


@pytest.mark.parametrize(
    ("reply", "grade"),
    [
        ("0.5", 0.5), ("1", 1.0), ("0.0", 0.0), ("0.7 because", 0.7), ("0.3\n", 0.3), (".5", 0.5),
        ("1.1", None), ("-0.1", None), ("", None), (" 0.5", None), ("good", None), ("0.5.", None),
        ("nan", None), ("inf", None), ("0.5|", None),
    ],
)  # fmt: skip
def test_a_grade_is_the_first_word_between_0_and_1(reply, grade):
    bench = loaded()
    score = bench.score(bench.questions[0], "x", review(reply))
    assert score.points == (grade or 0.0) and score.reason is None
    assert score.extracted == (None if grade is None else str(grade))
    assert score.rule == ("no_grade" if grade is None else "first_word")


def test_without_a_review_there_is_no_score():
    bench = loaded()
    score = bench.score(bench.questions[0], "x")
    assert score.points is None and score.reason == "unjudged:no_review"


def test_the_request_ends_in_the_row_that_the_judge_completes():
    bench = loaded()
    request = bench.request(bench.questions[1], "{} {0} | %s")
    (message,) = request.messages
    assert (request.temperature, request.max_tokens, message["role"]) == (0.0, 3, "user")
    head, blank, row = message["content"].rpartition("\n\n")
    assert (blank, row) == ("\n\n", "What is {1}? | -1 <AND> -5 <OR> x | {} {0} | %s | ")
    assert head.startswith("Compare the ground truth and prediction from AI models")
    assert head.endswith(" | 1.0")


def test_replies_without_a_grade_are_asked_for_again_as_officially():
    """Five replies are read, all but the first with the hint, the last three ever warmer."""
    bench, seen, asked = loaded(), [], []
    question = bench.questions[0]
    while (request := next_request(bench, question, "x", seen)) is not None:
        asked.append(request)
        seen.append(review("what?"))
    first = asked[0].messages[0]["content"]
    assert [r.temperature for r in asked] == [0.0, 0.0, 0.5, 1.0, 1.5]
    assert all(r.messages[0]["content"] == first + mm_vet.HINT for r in asked[1:])
    assert all(r.max_tokens == 3 for r in asked)
    assert bench.score(question, "x", seen[-1]).points == 0.0
    assert next_request(bench, question, "x", [review("0.4")]) is None
    assert next_request(bench, question, "x", [review("hm"), review("0.4")]) is None


@given(st.data())
def test_figures_are_100_times_the_mean_grade_over_runs(data):
    n, runs = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 5))
    tenths = st.integers(0, 10).map(lambda k: k / 10)
    grades = data.draw(st.lists(st.lists(tenths, min_size=runs, max_size=runs),
                                min_size=n, max_size=n))  # fmt: skip
    bench = loaded(n)
    stored = mm_vet.reviews(bench.questions, file(grade_file(grades)))
    found = figures(mm_vet.blocks(scored(bench, stored)))

    def close(value, members):
        mean = 100 * np.mean([grades[i] for i in members])
        assert value == pytest.approx(mean, abs=0.05 + 1e-9)
        assert value == round(value, 1)

    close(found["all", "score"], range(n))
    for name in mm_vet.CAPABILITIES:
        members = [i for i in range(n) if name in SETS[i % len(SETS)]]
        assert ((name, "score") in found) == bool(members)
        if members:
            close(found[name, "score"], members)
    same = [i for i in range(n) if i % len(SETS) in (1, 3)]
    assert (("integration/ocr+math", "score") in found) == bool(same)
    if same:
        close(found["integration/ocr+math", "score"], same)
    assert (("all", "std") in found) == (runs > 1)
    if runs > 1:
        totals = 100 * np.mean(grades, axis=0)
        assert found["all", "std"] == pytest.approx(totals.std(), abs=0.05 + 1e-9)


def test_a_capability_alone_is_not_all_that_need_it():
    bench = loaded()
    grades = [[1.0], [0.0], [0.0], [0.0], [0.0]]
    found = figures(mm_vet.blocks(
        scored(bench, mm_vet.reviews(bench.questions, file(grade_file(grades))))
    ))  # fmt: skip
    assert found["integration/rec", "score"] == 100 and found["rec", "score"] == 50


def test_the_order_of_capabilities_does_not_matter():
    names = {mm_vet.integration(p) for p in itertools.permutations(["gen", "know", "rec"])}
    assert names == {"rec+know+gen"}


def test_a_run_that_was_given_up_is_recognised():
    bench = loaded(2)
    content = grade_file([[0.4], [0.0]])
    content["v1_1"]["content"] = ["Sorry, I"]
    stored = mm_vet.reviews(bench.questions, file(content))
    first, second = scored(bench, stored)
    assert (first.score.extracted, first.score.rule) == ("0.4", "stored")
    assert (second.score.points, second.score.extracted) == (0.0, None)


def test_grades_of_a_part_leave_the_rest_without_review():
    bench = loaded(5)
    content = grade_file([[0.4], [0.5]])
    assert set(mm_vet.reviews(bench.questions, file(content))) == {"v1_0", "v1_1"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v1_0": {"score": []}}, "v1_0: expected model, content and score"),
        ({"v1_0": [0.5]}, "v1_0: expected model, content and score"),
        ({"v1_0": {"score": [1.2]}}, r"v1_0: grades must be in \[0, 1\]"),
        ({"v1_0": {"score": ["0.5"]}}, "v1_0: expected a list of numbers"),
        ({"v1_0": {"score": 0.5}}, "v1_0: expected a list of numbers"),
        ({"v1_0": {"score": [0.1, 0.2]}}, r"graded \[1, 2\] times"),
    ],
)
def test_grade_files_that_do_not_fit(change, message):
    bench = loaded(2)
    with pytest.raises(BenchmarkError, match=rf"grades\.json.*{message}"):
        mm_vet.reviews(bench.questions, file(grade_file([[0.4], [0.5]]) | change, "grades.json"))


def test_grades_of_another_benchmark():
    with pytest.raises(BenchmarkError, match="none of its grades"):
        mm_vet.reviews(loaded(2).questions, file({"v2_0": {"score": [1.0]}}))


def test_mirrored_rows_are_the_same_questions():
    rows = [
        {"question_id": name, "image": {"bytes": b"png", "path": None}, "image_source": "s",
         "question": e["question"], "answer": e["answer"], "capability": ",".join(e["capability"])}
        for name, e in official().items()
    ]  # fmt: skip
    table = [
        {"index": str(i), "image": base64.b64encode(PICTURE).decode(), "question": e["question"],
         "answer": e["answer"], "category": ",".join(e["capability"])}
        for i, e in enumerate(official().values())
    ]  # fmt: skip
    benches = [loaded(), mm_vet.load([file(rows)]), mm_vet.load([file(table)])]
    told = [[(q.question_id, q.kind, q.text, q.answer) for q in b.questions] for b in benches]
    assert told[0] == told[1] == told[2]
    images = [b.questions[0].image for b in benches]
    assert images == ["v1_0.png", b"png", PICTURE]


def test_answers_under_the_number_of_llava_or_the_official_id():
    bench = loaded(3)
    for names in (["v1_2", "v1_0", "v1_1"], [2, 0, 1]):
        answers = [{"question_id": name, "text": f"to {name}"} for name in names]
        joined = join(bench.questions, answers, mm_vet.KEYS, fields=mm_vet.fields)
        assert joined.responses["v1_2"] == f"to {names[0]}"
        assert joined.responses["v1_0"] == f"to {names[1]}"


def test_the_list_of_the_subset_in_the_same_folder_changes_nothing():
    files = [file(official(), "mm-vet.json"), file(["v1_0", "v1_3"], "bard_set.json")]
    assert len(mm_vet.load(files).questions) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "needs mm-vet.json"),
        ("text", r"file\.json: expected the questions of mm-vet\.json"),
        ({"v1_0": "text"}, r"file\.json: expected the questions of mm-vet\.json"),
        ({"v1_0": {"question": "x"}}, "needs question_id, question, answer and capability"),
        (official(1, capability=["smell"]), "unknown capability 'smell'"),
        ([entry(0, question_id="v1_0"), entry(1, question_id="0")], "stands twice"),
    ],
)
def test_files_that_do_not_make_the_benchmark(content, message):
    with pytest.raises(BenchmarkError, match=message):
        mm_vet.load([file(content)])
