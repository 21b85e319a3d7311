"""The benchmarks of this project, and what becomes of answers without a score."""

from dataclasses import replace

import pytest

from mbpo_core.evaluation import embedded, held_out
from mbpo_core.evaluation.metrics import FAILURES, compare, metrics
from mbpo_core.evaluation.own import own_blocks
from mbpo_core.evaluation.protocol import Answer, Score


def answer(kind, score, iig_mean=None, *, number=0, response="."):
    return Answer("m", "b", f"q{number}", kind, f"u{number}", response, score, iig_mean)


def figures(answers):
    numbered = [replace(a, question_id=f"q{i}", unit=f"u{i}") for i, a in enumerate(answers)]
    found = metrics(numbered, own_blocks, draws=200, seed=0)
    return {(m.kind, m.metric): m.estimate for m in found}


def test_chair_counts_mentions_over_the_set_and_captions():
    captions = [Score(mentions=4, hallucinated=1), Score(mentions=1, hallucinated=1),
                Score(mentions=0, hallucinated=0)]  # fmt: skip
    found = figures([answer("describe", score) for score in captions])
    assert found["describe", "chair_i"].value == 2 / 5
    assert found["describe", "chair_s"].value == 2 / 3
    assert found["describe", "chair_s"].n == 3
    assert ("describe", "accuracy") not in found


def test_kinds_are_counted_apart_and_together():
    found = figures(
        [
            answer("color", Score(True), 0.5),
            answer("yes", Score(False, said_yes=True), 1.5),
        ]
    )
    assert found["color", "accuracy"].value == 1
    assert found["all", "accuracy"].value == 0.5
    assert found["all", "iig_mean"].value == 1.0
    assert found["yes", "yes_rate"].value == 1.0
    assert ("color", "yes_rate") not in found
    assert found["all", "accuracy"].n == 2


def test_what_has_no_score_is_counted_and_in_no_figure():
    found = figures(
        [
            answer("color", Score(True, rule="letter", extracted="A")),
            answer("color", Score(False, rule="unparseable")),
            answer("color", Score(False, rule="empty"), response=" "),
            answer("color", Score(reason="missing")),
            answer("color", Score(reason="unjudged:timeout")),
        ]
    )
    assert found["all", "accuracy"].value == 1 / 3 and found["all", "accuracy"].n == 3
    shares = {name: found["all", name].value for name in ("unanswered", "unjudged", "empty")}
    assert shares == {"unanswered": 1 / 5, "unjudged": 1 / 5, "empty": 1 / 5}
    assert found["all", "unparsed"].value == 2 / 5 and found["all", "unparsed"].n == 5


def test_answers_that_were_cut_are_counted_and_still_scored():
    cut = replace(answer("color", Score(True)), finished=False)
    found = figures([cut, answer("color", Score(True)), replace(cut, finished=True)])
    assert found["all", "unfinished"].value == 1 / 3 and found["all", "accuracy"].n == 3


def test_figures_see_no_answer_that_has_no_score():
    seen = []

    def blocks(answers):
        seen.extend(answers)
        return own_blocks(answers)

    answers = [answer("color", Score(True)), answer("color", Score(reason="missing"), number=1)]
    metrics(answers, blocks, draws=100, seed=0)
    assert seen == answers[:1]


def test_nothing_scored_leaves_the_counts():
    found = figures([answer("color", Score(reason="missing"))])
    assert {name for _, name in found} == set(FAILURES)
    assert metrics([], own_blocks, draws=100, seed=0) == []


def test_every_gold_answer_of_the_embedded_world_scores_full_marks():
    for flavour in ("consistent", "counter"):
        benchmark = embedded.load("dev", flavour, 20)
        for each in benchmark.questions:
            found = benchmark.score(each, each.answer)
            assert found.points == 1.0
            if each.kind == "describe":
                assert found.mentions >= 2 and found.hallucinated == 0
            else:
                assert found.correct, (each.text, each.answer, found)


def test_wrong_empty_and_contradictory_answers_score_nothing():
    benchmark = embedded.load("dev", "counter", 10)
    for each in benchmark.questions:
        if each.kind == "describe":
            continue
        for text in ("", "I do not know", "yes and no", "two or three", "A, B, C"):
            found = benchmark.score(each, text)
            assert not found.correct and found.points == 0.0, (each.text, text)


def test_the_prior_answer_is_wrong_on_counter_scenes():
    """A caption of the same scene in typical colours hallucinates every object."""
    typical = {q.question_id: q for q in embedded.load("dev", "consistent", 10).questions}
    benchmark = embedded.load("dev", "counter", 10)
    for each in benchmark.questions:
        if each.kind == "describe":
            found = benchmark.score(each, typical[each.question_id].answer)
            assert found.hallucinated == found.mentions > 0 and found.points == 0.0


def test_a_caption_with_two_hallucinations_is_one_caption():
    captions = [Score(mentions=4, hallucinated=2), Score(mentions=4, hallucinated=0)]
    found = figures([answer("describe", score) for score in captions])
    assert found["describe", "chair_s"].value == 1 / 2
    assert found["describe", "chair_i"].value == 2 / 8


def test_another_seed_asks_about_other_scenes_of_the_same_part():
    first, other = (embedded.load("test", "counter", 20, seed=seed).questions for seed in (0, 1))
    assert not {q.question_id for q in first} & {q.question_id for q in other}
    assert not {q.image for q in first} & {q.image for q in other}
    assert first == embedded.load("test", "counter", 20).questions


def test_pictures_are_drawn_only_where_they_are_wanted():
    with_pictures = embedded.load("dev", "counter", 2)
    without = embedded.load("dev", "counter", 2, images=False)
    assert all(q.image for q in with_pictures.questions)
    assert [replace(q, image=None) for q in with_pictures.questions] == list(without.questions)


def test_open_ended_samples_are_not_scored():
    sample = {"sample_id": "s", "image_id": "i", "question": "What?", "response": "A dog.",
              "closed_kind": None, "closed_answer": None, "options": None}  # fmt: skip
    benchmark = held_out.load([sample])
    (question,) = benchmark.questions
    assert question.unit == "i" and benchmark.score(question, "A dog.") == Score()


@pytest.mark.parametrize("changed", [0, 3])
def test_a_comparison_is_of_the_questions_that_both_have_a_score_for(changed):
    right, wrong = Score(True, 1.0), Score(False, 0.0)
    a = [answer("color", right if i < 5 else wrong, number=i) for i in range(20)]
    b = [answer("color", right if i < 5 + changed else wrong, number=i) for i in range(19)]
    b.append(answer("color", Score(reason="missing"), number=19))
    found = {(c.kind, c.metric): c.difference
             for c in compare(a, b, own_blocks, draws=500, seed=0)}  # fmt: skip
    difference = found["all", "accuracy"]
    assert difference.n == 19 and difference.a == 5 / 19 and difference.b == (5 + changed) / 19
    assert difference.low <= difference.difference <= difference.high
    if not changed:
        assert (difference.low, difference.difference, difference.high) == (0, 0, 0)
    assert compare(a, [], own_blocks, draws=100, seed=0) == []
