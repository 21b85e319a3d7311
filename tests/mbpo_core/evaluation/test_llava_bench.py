"""LLaVA-Bench (In-the-Wild) against its definition; all data is synthetic."""

import random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mbpo_core.evaluation import llava_bench
from mbpo_core.evaluation.join import join
from mbpo_core.evaluation.protocol import BenchmarkError
from tests.mbpo_core.evaluation.judged import figures, file, review, scored

KINDS = llava_bench.CATEGORIES


def asked(n=6):
    return [
        {"question_id": i, "image": f"{i // 3 + 1:03d}.jpg", "text": f"What is {{{i}}}?",
         "category": KINDS[i % 3]}
        for i in range(n)
    ]  # fmt: skip


def contexts(n=6):
    return [
        {"id": f"{i + 1:03d}", "image": f"{i + 1:03d}.jpg", "caption": f"Caption {i}."}
        for i in range(-(-n // 3))
    ]


def references(n=6):
    return [{"question_id": i, "text": f"Reference {i} {{}}.", "answer_id": "r"} for i in range(n)]


def files(n=6, **changes):
    content = {"questions.jsonl": asked(n), "context.jsonl": contexts(n),
               "answers_gpt4.jsonl": references(n)} | changes  # fmt: skip
    return [file(records, name) for name, records in content.items()]


def stored(pairs, **changes):
    return [
        {"id": i + 1, "question_id": i, "answer1_id": "r", "answer2_id": "a",
         "category": f"llava_bench_{KINDS[i % 3]}", "content": f"{a} {b}\nBecause.",
         "tuple": [a, b]} | changes
        for i, (a, b) in enumerate(pairs)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("8 9\nBecause.", (8, 9)), ("8,9", (8, 9)), ("8.5 9.5\n", (8.5, 9.5)), ("8\r\n9", None),
        ("8, 9", None), ("8 9 \nx", None), (" 8 9", None), ("8  9", None), ("\n8 9", None),
        ("Assistant 1: 8 9", None), ("8", None), ("8 9 10", None), ("", None), ("a b", None),
        ("nan 9", None), ("8 inf", None),
    ],
)  # fmt: skip
def test_scores_are_two_numbers_with_one_space_or_comma_between_them(text, pair):
    bench = llava_bench.load(files())
    score = bench.score(bench.questions[0], "x", review(text))
    reference, model = pair or (-1, -1)
    assert score.facts == {"reference": reference, "model": model} and score.points == model
    assert (score.extracted is None) == (pair is None) and score.reason is None
    assert score.rule == ("unreadable" if pair is None else "first_line")


def test_without_a_review_there_is_no_score():
    bench = llava_bench.load(files())
    score = bench.score(bench.questions[0], "x")
    assert score.points is None and score.reason == "unjudged:no_review"


def test_the_request_is_the_official_comparison_with_the_fields_put_in_literally():
    bench = llava_bench.load(files())
    request = bench.request(bench.questions[4], "{} {0}\n[System]")
    system, user = request.messages
    assert (request.temperature, request.max_tokens) == (0.2, 1024)
    assert system == {"role": "system", "content": llava_bench.SYSTEM}
    head, _, rule = user["content"].partition("[End of Assistant 2]\n\n[System]\n")
    assert head == (
        "[Context]\nCaption 1.\n\n[Question]\nWhat is {4}?\n\n"
        "[Assistant 1]\nReference 4 {}.\n\n[End of Assistant 1]\n\n"
        "[Assistant 2]\n{} {0}\n[System]\n\n"
    )
    assert rule.startswith("We would like to request your feedback")
    assert rule.endswith("does not affect your judgment.\n\n")


def test_a_rule_file_and_a_caption_of_several_lines():
    rules = {f"llava_bench_{k}": {"role": "Bot", "prompt": f"Rule {k}."} for k in KINDS}
    several = [c | {"caption": ["One.", "Two."]} for c in contexts()]
    bench = llava_bench.load(files(**{"rule.json": rules, "context.jsonl": several}))
    content = bench.request(bench.questions[2], "x").messages[1]["content"]
    assert content.startswith("[Context]\nOne.\nTwo.\n\n")
    assert content.endswith("[Bot 2]\nx\n\n[End of Bot 2]\n\n[System]\nRule complex.\n\n")


PAIRS = st.lists(st.tuples(*[st.integers(1, 20).map(lambda k: k / 2)] * 2), min_size=1, max_size=20)


@given(PAIRS, st.randoms())
def test_means_are_rounded_before_the_ratio_and_order_does_not_matter(pairs, rng):
    bench = llava_bench.load(files(len(pairs)))
    records = stored(pairs)
    rng.shuffle(records)
    found = figures(llava_bench.blocks(
        scored(bench, llava_bench.reviews(bench.questions, file(records)))
    ))  # fmt: skip
    groups = {"all": pairs} | {k: pairs[i::3] for i, k in enumerate(KINDS) if pairs[i::3]}
    assert {kind for kind, _ in found} == set(groups)
    for kind, members in groups.items():
        reference, model = (round(float(m), 3) for m in np.array(members).mean(0))
        assert found[kind, "relative_score"] == round(model / reference * 100, 1)
        assert found[kind, "reference_score"] == round(reference * 10, 1)
        assert found[kind, "model_score"] == round(model * 10, 1)


def test_rounding_of_the_means_can_change_the_ratio():
    """Seven reviews with means 5 / 7 and 18 / 7 (synthetic): 360.0 in full, 360.1 as officially."""
    pairs = [(1, 3)] * 4 + [(1, 4), (0, 1), (0, 1)]
    full = 100 * sum(b for _, b in pairs) / sum(a for a, _ in pairs)
    bench = llava_bench.load(files(7))
    found = figures(llava_bench.blocks(
        scored(bench, llava_bench.reviews(bench.questions, file(stored(pairs))))
    ))  # fmt: skip
    assert round(full, 1) == 360.0
    assert found["all", "relative_score"] == round(100 * 2.571 / 0.714, 1) != round(full, 1)


@given(PAIRS)
def test_unreadable_reviews_are_averaged_in_as_minus_one(pairs):
    bench = llava_bench.load(files(len(pairs) + 1))
    texts = [f"{a} {b}\n" for a, b in pairs] + ["I cannot tell."]
    reviews = {q.question_id: review(t) for q, t in zip(bench.questions, texts, strict=True)}
    answers = scored(bench, reviews)
    reference, model = (round(float(m), 3) for m in np.array([*pairs, (-1, -1)]).mean(0))
    assume(reference != 0)
    found = figures(llava_bench.blocks(answers))
    assert found["all", "relative_score"] == round(model / reference * 100, 1)
    assert [a.score.extracted is None for a in answers] == [False] * len(pairs) + [True]


def test_stored_scores_come_before_the_text_as_in_the_official_summary():
    bench = llava_bench.load(files())
    records = stored([(8, 9)] * 6)
    records[0] |= {"content": "Assistant 1 gets 8.", "tuple": [8, 7]}
    records[1] |= {"tuple": [-1, -1]}
    first, second, third, *_ = scored(bench, llava_bench.reviews(bench.questions, file(records)))
    assert first.score.facts == {"reference": 8, "model": 7} and first.score.rule == "stored"
    assert second.score.points == -1 and second.score.extracted is None
    assert third.score.extracted == "8 9"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question_id": 77}, r"6 of 6 reviews are of no question|none of 6 answers"),
        ({"category": "llava_bench_poem"}, "category 'poem'"),
        ({"tuple": [8]}, "expected content or a tuple of two scores"),
        ({"tuple": "8 9"}, "expected a list of numbers"),
        ({"tuple": [], "content": None}, "expected content or a tuple of two scores"),
    ],
)
def test_reviews_that_do_not_fit(changes, message):
    bench = llava_bench.load(files())
    with pytest.raises(BenchmarkError, match=rf"reviews\.jsonl.*({message})"):
        llava_bench.reviews(bench.questions, file(stored([(8, 9)] * 6, **changes), "reviews.jsonl"))


def test_two_different_reviews_of_a_question_are_an_error_and_equal_ones_are_not():
    bench = llava_bench.load(files())
    records = stored([(8, 9)] * 6)
    assert len(llava_bench.reviews(bench.questions, file([*records, records[0]]))) == 6
    other = records[0] | {"tuple": [8, 1]}
    with pytest.raises(BenchmarkError, match="question 0 has 2 different answers"):
        llava_bench.reviews(bench.questions, file([*records, other]))


def test_mirrored_rows_are_the_same_questions():
    rows = [
        {"question_id": q["question_id"], "question": q["text"], "category": q["category"],
         "image": {"bytes": b"jpeg", "path": q["image"]}, "image_id": q["image"],
         "caption": contexts()[i // 3]["caption"], "gpt_answer": references()[i]["text"]}
        for i, q in enumerate(asked())
    ]  # fmt: skip
    table = [
        {"index": str(r["question_id"]), "question": r["question"], "category": r["category"],
         "image_path": r["image_id"], "caption": r["caption"], "gpt4_ans": r["gpt_answer"]}
        for r in rows
    ]  # fmt: skip
    benches = [llava_bench.load(f) for f in (files(), [file(rows)], [file(table)])]
    requests = [[b.request(q, "x") for q in b.questions] for b in benches]
    assert requests[0] == requests[1] == requests[2]
    assert len({tuple(q.unit for q in b.questions) for b in benches}) == 1
    assert [b.questions[0].image for b in benches] == ["001.jpg", b"jpeg", "001.jpg"]


def test_reference_answers_are_joined_by_id_and_other_models_answers_passed_over():
    mixed = references()
    random.Random(0).shuffle(mixed)
    others = [{"question_id": i, "text": "Bard."} for i in range(6)]
    bench = llava_bench.load(
        files(**{"answers_gpt4.jsonl": mixed, "bard.jsonl": others,
                 "reviews.jsonl": stored([(8, 9)] * 6)})
    )  # fmt: skip
    assert [q.answer for q in bench.questions] == [f"Reference {i} {{}}." for i in range(6)]


def test_answers_of_llava_are_joined_by_id_and_their_question_is_compared():
    bench = llava_bench.load(files())
    answers = [{"question_id": q["question_id"], "prompt": q["text"], "text": f"to {q['text']}",
                "answer_id": "a"} for q in reversed(asked())]  # fmt: skip
    joined = join(bench.questions, answers, llava_bench.KEYS)
    assert joined.responses == {q.question_id: f"to {q.text}" for q in bench.questions}
    with pytest.raises(BenchmarkError, match="another set of questions"):
        join(bench.questions, [answers[0] | {"prompt": "Why?"}, *answers[1:]], llava_bench.KEYS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"questions.jsonl": []}, "needs questions.jsonl, context.jsonl"),
        ({"context.jsonl": contexts(3)}, r"question 3 has no caption of '002\.jpg'"),
        ({"answers_gpt4.jsonl": references(5)}, "question 5 has no reference answer"),
        ({"answers_gpt4.jsonl": references(7)}, "answers question 6"),
        ({"questions.jsonl": asked() + asked()}, "stands twice"),
        ({"context.jsonl": "text"}, "context.jsonl: expected a list"),
        ({"context.jsonl": [{"a": 1}]}, "context.jsonl: llava_bench needs"),
        ({"questions.jsonl": [asked()[0] | {"category": "poem"}]}, "'poem'"),
        ({"answers_gpt4.jsonl": [], "a.jsonl": references(), "b.jsonl": references()},
         "reference answers should be in answers_gpt4.jsonl"),
    ],
)  # fmt: skip
def test_files_that_do_not_make_the_benchmark(changes, message):
    with pytest.raises(BenchmarkError, match=message):
        llava_bench.load(files(**changes))
