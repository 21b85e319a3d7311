"""AI2D and files in LLaVA's manner; synthetic, but for the samples that MMBench publishes."""

import pytest

from mbpo_core.evaluation import ai2d, multiple_choice
from mbpo_core.evaluation.choice_files import choice_fields
from mbpo_core.evaluation.join import join
from mbpo_core.evaluation.protocol import BenchmarkError, SourceFile
from tests.mbpo_core.evaluation.published import figures, scored, source, values

PARQUET = [
    {"question": "What eats B?", "options": ["cat", "dog", "C", "2"], "answer": "3",
     "image": {"bytes": b"one", "path": None}},
    {"question": "What is A?", "options": ["leaf", "root"], "answer": "0",
     "image": {"bytes": b"one", "path": None}},
    {"question": "What is A?", "options": ["leaf", "root"], "answer": "1",
     "image": {"bytes": b"two", "path": None}},
]  # fmt: skip


def test_ai2d_from_both_releases():
    """lmms-eval's answers are places from 0, VLMEvalKit's are letters."""
    one = ai2d.load([SourceFile("ai2d.parquet", PARQUET)]).questions
    table = [
        {"index": i, "question": r["question"], **dict(zip("ABCD", r["options"], strict=False)),
         "answer": "ABCD"[int(r["answer"])], "image": r["image"]}
        for i, r in enumerate(PARQUET)
    ]  # fmt: skip
    assert ai2d.load([SourceFile("AI2D_TEST.tsv", table)]).questions == one
    assert [q.answer for q in one] == ["D", "A", "B"]
    assert one[0].prompt == (
        "What eats B?\nA. cat\nB. dog\nC. C\nD. 2"
        "\nAnswer with the option's letter from the given choices directly."
    )
    assert one[0].unit == one[1].unit != one[2].unit


def test_ai2ds_answers_and_its_interval_over_diagrams():
    benchmark = ai2d.load([SourceFile("ai2d.parquet", PARQUET)])
    log = [{"doc_id": i, "input": q.prompt, "filtered_resps": [said], "target": q.answer}
           for i, (q, said) in enumerate(zip(benchmark.questions, ["d", "(A)", "A. leaf"],
                                             strict=True))]  # fmt: skip
    joined = join(benchmark.questions, log[::-1], ai2d.KEYS, fields=choice_fields)
    found = figures(ai2d.blocks(scored(benchmark, joined.responses)))
    assert found["all", "accuracy"].value == 2 / 3
    assert found["all", "accuracy"].method == "bootstrap"
    with pytest.raises(BenchmarkError, match="another set of questions"):
        join(benchmark.questions, [{**log[0], "doc_id": 1}], ai2d.KEYS, fields=choice_fields)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "ai2d needs records"),
        ([{"question": "?", "options": ["a"], "answer": "0"}], "expected question, and options"),
        ([{**PARQUET[0], "answer": "4"}], "one of A, B, C, D, got '4'"),
    ],
)
def test_bad_ai2d_files(records, message):
    with pytest.raises(BenchmarkError, match=message):
        ai2d.load([SourceFile("ai2d.parquet", records)])


def test_the_samples_that_mmbench_publishes(shared_data):
    """34 real questions, 14 of them in Chinese: gold answers as letter and as text are right."""
    path = shared_data / "real/mmbench_samples/llava_samples.json"
    if not path.is_file():
        pytest.skip(f"no MMBench samples at {path}")
    benchmark = multiple_choice.load([source(path)])
    assert len(benchmark.questions) == 34
    for say in (lambda q: q.answer, lambda q: dict(q.options)[q.answer],
                lambda q: f"The answer is ({q.answer})."):  # fmt: skip
        said = {q.question_id: say(q) for q in benchmark.questions}
        assert values(multiple_choice.blocks(scored(benchmark, said)))["all", "accuracy"] == 1
    assert all(q.prompt == q.text for q in benchmark.questions)  # the request stands in the file


def conversation(*turns, **record):
    said = []
    for question, answer in turns:
        said += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {**record, "conversations": said}


RECORDS = [
    conversation(("<image>\nIs it?\nA. no\nB. yes", "A"), id="x", image="a.jpg"),
    conversation(("<image>\nWhich allele (A) is it? Options: (A) Aa (B) aa (C) AA", "C"),
                 ("And now?\nA. cat\nB. dog\nAnswer with the option's letter.", "B. dog"),
                 id=7, image="b.jpg"),
    {"question": "Where? Options: A: here, B: there", "answer": "B", "image": "c.jpg"},
    {"question": "Who?", "choices": ["he", "she"], "answer": 1, "image": "c.jpg", "category": "c"},
    {"index": 9, "question": "How?", "A": "so", "B": "thus", "C": "", "answer": "a"},
]  # fmt: skip
BENCHMARK = multiple_choice.load([SourceFile("data.json", RECORDS)])


def test_every_way_of_writing_options():
    found = {q.question_id: (q.answer, "".join(letter for letter, _ in q.options))
             for q in BENCHMARK.questions}  # fmt: skip
    assert found == {
        "x": ("A", "AB"), "7": ("C", "ABC"), "7#1": ("B", "AB"), "2": ("B", "AB"),
        "3": ("B", "AB"), "9": ("A", "AB"),
    }  # fmt: skip


def test_a_turn_is_asked_alone_and_with_a_request_for_a_letter():
    by_id = {q.question_id: q for q in BENCHMARK.questions}
    assert by_id["x"].prompt.startswith("Is it?\nA. no\nB. yes\nAnswer with the option's letter")
    assert by_id["7#1"].prompt.count("Answer with") == 1
    assert by_id["7"].unit == by_id["7#1"].unit == "b" and by_id["2"].unit == by_id["3"].unit
    assert by_id["9"].image is None and by_id["9"].unit == "9"


def test_answers_are_joined_by_id_or_by_image_and_text():
    by_id = [{"id": q.question_id, "response": q.answer} for q in BENCHMARK.questions]
    by_text = [{"image": q.image, "prompt": q.prompt, "response": q.answer}
               for q in BENCHMARK.questions]  # fmt: skip
    for records in (by_id, by_text[::-1]):
        joined = join(BENCHMARK.questions, records, multiple_choice.KEYS,
                      fields=multiple_choice.fields)  # fmt: skip
        found = values(multiple_choice.blocks(scored(BENCHMARK, joined.responses)))
        assert found["all", "accuracy"] == found["c", "accuracy"] == 1


def test_two_letters_are_no_answer():
    question = BENCHMARK.questions[0]
    score = BENCHMARK.score(question, "A or B")
    assert (score.correct, score.extracted, score.rule) == (False, None, "contradictory")
    assert BENCHMARK.score(question, "No").correct is True  # the text of option A
    assert BENCHMARK.score(question, "").rule == "empty"


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "multiple_choice needs records"),
        ([conversation(("Why (A)?", "So."))], "no multiple choice with its answer among"),
        ([conversation(("Is it?", "Yes"))], "no multiple choice"),
        ([{"id": 1}], "no multiple choice with"),
        ([{"conversations": "text"}], "expected conversations to be a list"),
        ([{"conversations": [{"from": "dog", "value": "x"}]}], "unknown speaker"),
        ([RECORDS[0], RECORDS[0]], "an id stands twice"),
        ([{"question": "?", "choices": ["a", "b"], "answer": 2}], "one of A, B, got 2"),
    ],
)
def test_what_is_no_multiple_choice_is_refused(records, message):
    with pytest.raises(BenchmarkError, match=message):
        multiple_choice.load([SourceFile("data.json", records)])
