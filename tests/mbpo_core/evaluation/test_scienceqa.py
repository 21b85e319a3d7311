"""Synthetic questions in the forms of ScienceQA."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation import scienceqa
from mbpo_core.evaluation.join import join
from mbpo_core.evaluation.protocol import BenchmarkError, SourceFile
from tests.mbpo_core.evaluation.published import figures, scored, values

PROBLEMS = {
    "4": {"question": "Is it true?", "choices": ["no", "yes"], "answer": 0, "hint": "",
          "image": None, "subject": "language science", "grade": "grade10", "split": "test"},
    "5": {"question": "Which gene (A) is shown?\nPick one.", "choices": ["a", "b", "c", "d", "e"],
          "answer": 4, "hint": "A hint.\nIn two lines.", "image": "image.png",
          "subject": "natural science", "grade": "grade6", "split": "test"},
    "11": {"question": "Where?", "choices": ["here", "there", "A. nowhere"], "answer": 1,
           "hint": "", "image": "image.png", "subject": "social science", "grade": "grade2",
           "split": "test"},
    "12": {"question": "Why?", "choices": ["so", "no"], "answer": 0, "hint": "x", "image": None,
           "subject": "natural science", "grade": "grade2", "split": "train"},
}  # fmt: skip
FILES = [SourceFile("problems.json", PROBLEMS),
         SourceFile("pid_splits.json", {"train": ["12"], "test": ["4", "5", "11"]})]  # fmt: skip


def llava_record(number):
    problem = PROBLEMS[number]
    context = f"Context: {problem['hint']}\n" if problem["hint"] else ""
    options = "\n".join(f"{x}. {c}" for x, c in zip("ABCDE", problem["choices"], strict=False))
    picture = {"image": f"{number}/image.png"} if problem["image"] else {}
    value = f"{'<image>' + chr(10) if picture else ''}{context}{problem['question']}\n{options}"
    return {"id": number, **picture, "conversations": [
        {"from": "human", "value": value}, {"from": "gpt", "value": "ABCDE"[problem["answer"]]},
    ]}  # fmt: skip


LLAVA = SourceFile("llava_test_CQM-A.json", [llava_record(n) for n in ("4", "5", "11")])
BENCHMARK = scienceqa.load(FILES)


def test_llavas_file_and_scienceqas_hold_the_same_questions():
    both = scienceqa.load([LLAVA, FILES[0]])
    assert [q.question_id for q in BENCHMARK.questions] == ["4", "5", "11"]
    assert both.questions == BENCHMARK.questions
    # Alone, LLaVA's file tells neither subject nor grade.
    alone = {q.question_id: q.facts["columns"] for q in scienceqa.load([LLAVA]).questions}
    assert alone == {"4": ["NO"], "5": ["TXT", "IMG"], "11": ["IMG"]}


def test_yes_and_no_as_options_are_a_choice_and_letters_in_a_question_are_none():
    four, five, eleven = scienceqa.load([LLAVA]).questions
    assert four.answer == "A" and four.options == (("A", "no"), ("B", "yes"))
    assert len(five.options) == 5 and five.answer == "E"
    assert eleven.options[2] == ("C", "A. nowhere")


@given(st.lists(st.booleans(), min_size=3, max_size=3))
def test_accuracy_and_that_of_questions_with_an_image(right):
    said = {
        q.question_id: q.answer if ok else "Z"
        for q, ok in zip(BENCHMARK.questions, right, strict=True)
    }
    found = figures(scienceqa.blocks(scored(BENCHMARK, said)))
    four, five, eleven = map(int, right)
    expected = {
        "all": (four + five + eleven) / 3, "IMG": (five + eleven) / 2, "TXT": five, "NO": four,
        "NAT": five, "SOC": eleven, "LAN": four, "G1-6": (five + eleven) / 2, "G7-12": four,
    }  # fmt: skip
    assert {kind: e.value for (kind, _), e in found.items()} == pytest.approx(expected)
    assert found["IMG", "accuracy"].n == 2 and found["IMG", "accuracy"].method == "wilson"


def test_parquet_records_have_their_place_for_an_id():
    """As lmms-eval's logs count them; what was asked is compared."""
    rows = [{**PROBLEMS[n], "image": {"bytes": b"x"} if PROBLEMS[n]["image"] else None}
            for n in ("4", "5", "11")]  # fmt: skip
    benchmark = scienceqa.load([SourceFile("test.parquet", rows)])
    assert [q.question_id for q in benchmark.questions] == ["0", "1", "2"]
    assert [q.image for q in benchmark.questions] == [None, b"x", b"x"]
    assert [q.text for q in benchmark.questions] == [q.text for q in BENCHMARK.questions]
    log = [{"doc_id": i, "input": q.prompt, "filtered_resps": q.answer}
           for i, q in enumerate(benchmark.questions)]  # fmt: skip
    joined = join(benchmark.questions, log[::-1], scienceqa.KEYS, fields=scienceqa.fields)
    found = values(scienceqa.blocks(scored(benchmark, joined.responses)))
    assert found["all", "accuracy"] == 1
    with pytest.raises(BenchmarkError, match="another set of questions"):
        join(benchmark.questions, [{**log[0], "doc_id": 1}, *log[1:]], scienceqa.KEYS,
             fields=scienceqa.fields)  # fmt: skip


def test_llavas_answers_repeat_the_prompt():
    """With `<image>` in front and the request behind."""
    records = [{"question_id": q.question_id, "text": q.answer,
                "prompt": ("<image>\n" if q.image else "") + q.prompt}
               for q in BENCHMARK.questions]  # fmt: skip
    joined = join(BENCHMARK.questions, records, scienceqa.KEYS, fields=scienceqa.fields)
    assert list(joined.responses.values()) == ["A", "E", "B"]
    sheet = [{**PROBLEMS[n], "question_id": n, "prediction": "A"} for n in ("4", "5", "11")]
    joined = join(BENCHMARK.questions, sheet, scienceqa.KEYS, fields=scienceqa.fields)
    assert list(joined.responses.values()) == ["A", "A", "A"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "needs llava_test_CQM-A.json or problems.json"),
        ([SourceFile("a.json", [{"conversations": []}])], "a.json: no conversation"),
        ([SourceFile("a.json", [{"id": "1", "conversations": [
            {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]}])],
         "expected as answer one of the options, got 'So.'"),
        ([SourceFile("problems.json", {"1": {**PROBLEMS["4"], "answer": 2}})],
         "one of A, B, got 2"),
        ([SourceFile("problems.json", {"1": {"question": "?"}})], "expected question and choices"),
        ([LLAVA, LLAVA], "an id stands twice"),
    ],
)  # fmt: skip
def test_bad_files_are_refused(files, message):
    with pytest.raises(BenchmarkError, match=message):
        scienceqa.load(files)
