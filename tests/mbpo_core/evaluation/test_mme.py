"""All questions and answers here are synthetic, in the forms in which MME is published."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation import mme
from mbpo_core.evaluation.join import join
from mbpo_core.evaluation.protocol import BenchmarkError, SourceFile
from tests.mbpo_core.evaluation.published import figures, scored, values

LINES = {
    "count": [
        ("0001.jpg", "Is there one cat? Please answer yes or no.", "Yes"),
        ("0001.jpg", "Are there two cats?  Please answer yes or no.", "No"),
        ("0002.jpg", "Is there one cat? Please answer yes or no.", "No"),
        ("0002.jpg", "Are there two cats Please answer yes or no.", "Yes"),
    ],
    "scene": [
        ("a.jpg", "Is this a bar? Please answer yes or no.", "Yes"),
        ("a.jpg", "Is this a zoo? Please answer yes or no.", "No"),
    ],
    "code_reasoning": [
        ("0001.png", "The image shows code. Is it C++? Please answer yes or no.", "Yes"),
        ("0001.png", "The image shows code. Is it Python? Please answer yes or no.", "No"),
    ],
}
RESPONSES = ["Yes", "no", "yes, it is", " no", "Know", "Y", "", "church", "No.", "eyes", "a yes"]


def text_files(lines, responses=None):
    rows = iter(responses or [])
    return [
        SourceFile(f"{category}.txt", "".join(
            "\t".join((*line, next(rows)) if responses else line) + "\n" for line in of_category
        ))
        for category, of_category in lines.items()
    ]  # fmt: skip


BENCHMARK = mme.load(text_files(LINES))


def official(responses):
    """The figures of a file in order, restated: accuracy of answers and of consecutive pairs."""
    found, rows = {}, iter(responses)
    for category, lines in LINES.items():
        right = []
        for _, _, gold in lines:
            start = next(rows).lower()[:4]
            said = "yes" if "yes" in start else "no" if "no" in start else "other"
            right.append(said == gold.lower())
        pairs = [right[i] and right[i + 1] for i in range(0, len(right), 2)]
        found[category] = 100 * sum(right) / len(right) + 100 * sum(pairs) / len(pairs)
    return found


@given(st.lists(st.sampled_from(RESPONSES), min_size=8, max_size=8), st.randoms())
def test_scores_are_the_official_ones_whatever_the_order(responses, rng):
    expected = official(responses)
    files = text_files(LINES, responses)
    records = [r for file in files for r in mme.table(file)]
    rng.shuffle(records)
    joined = join(BENCHMARK.questions, records, mme.KEYS, fields=mme.fields)
    found = values(mme.blocks(scored(BENCHMARK, joined.responses)))
    for category, score in expected.items():
        assert found[category, "score"] == pytest.approx(score)
        assert found[category, "score"] == pytest.approx(
            100 * found[category, "acc"] + 100 * found[category, "acc_plus"]
        )
    assert found["perception", "score"] == pytest.approx(expected["count"] + expected["scene"])
    assert found["cognition", "score"] == pytest.approx(expected["code_reasoning"])
    assert found["all", "score"] == pytest.approx(sum(expected.values()))


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ("Yes", "yes"), ("no", "no"), ("NO, it is", "no"), ("yes or no", "yes"), ("Know", "no"),
        ("not", "no"), ("Y", None), ("n", None), ("", None), ("   yes", None), ("  no", "no"),
        ("The answer is yes", None), ("\"Yes\"", "yes"), ("\nyes", "yes"),
    ],
)  # fmt: skip
def test_the_first_four_characters_decide(response, said):
    assert mme.read(response) == said
    score = BENCHMARK.score(BENCHMARK.questions[0], response)
    assert (score.extracted, score.rule) == (said, "first_four_characters" if said else "other")
    assert score.correct is (said == "yes") and score.said_yes is (said and said == "yes")


def test_odd_spaces_and_other_instructions_are_the_same_question():
    """LLaVA's ids name category and image, its prompts end on another request."""
    records = [
        {"question_id": q.image.replace('/', '/images/'), "prompt": q.prompt, "text": "Yes"}
        for q in BENCHMARK.questions
    ]  # fmt: skip
    joined = join(BENCHMARK.questions, records, mme.KEYS, fields=mme.fields)
    assert len(joined.responses) == 8
    assert BENCHMARK.questions[1].prompt == (
        "Are there two cats?\nAnswer the question using a single word or phrase."
    )
    assert BENCHMARK.questions[3].prompt.startswith("Are there two cats\nAnswer")


def test_files_of_llavas_converter_name_text_files():
    lines = {c: [(f"{line[0].split('.')[0]}.txt", *line[1:]) for line in of_category]
             for c, of_category in LINES.items()}  # fmt: skip
    records = [r for f in text_files(lines, ["Yes"] * 8) for r in mme.table(f)]
    assert len(join(BENCHMARK.questions, records, mme.KEYS, fields=mme.fields).responses) == 8


def test_llavas_question_file_says_where_images_lie_and_must_fit():
    record = {"question_id": "count/images/0001.jpg", "image": "count/images/0001.jpg",
              "text": "Is there one cat?\nAnswer the question using a single word or phrase.",
              "category": "count"}  # fmt: skip
    found = mme.load([*text_files(LINES), SourceFile("llava_mme.jsonl", [record])])
    assert found.questions[0].image == "count/images/0001.jpg"
    assert found.questions[1].image == "count/0001.jpg"
    wrong = SourceFile("llava_mme.jsonl", [{**record, "text": "Is there one dog?"}])
    with pytest.raises(BenchmarkError, match=r"llava_mme.jsonl: count/1/is there one dog\? is not"):
        mme.load([*text_files(LINES), wrong])


def test_parquet_and_tsv_hold_the_same_questions():
    picture = base64.b64encode(bytes(range(99))).decode()
    rows = [(c, *line) for c, lines in LINES.items() for line in lines]
    parquet = [
        {"question_id": f"{category}/{image}", "image": {"bytes": b"picture", "path": None},
         "question": text, "answer": gold, "category": category}
        for category, image, text, gold in rows
    ]  # fmt: skip
    # VLMEvalKit: the second row of an image refers to the row that has it.
    tsv = [
        {"index": i, "image": picture if i % 2 == 0 else str(i - 1), "image_path": f"{c}/{image}",
         "question": text, "answer": gold, "category": c}
        for i, (c, image, text, gold) in enumerate(rows)
    ]  # fmt: skip
    for records, image in ((parquet, b"picture"), (tsv, bytes(range(99)))):
        found = mme.load([SourceFile("mme", records)]).questions
        assert [q.question_id for q in found] == [q.question_id for q in BENCHMARK.questions]
        assert [q.unit for q in found] == [q.unit for q in BENCHMARK.questions]
        assert all(q.image == image for q in found)
    by_index = [{"index": i, "prediction": "Yes"} for i in range(8)]
    joined = join(found, by_index, mme.KEYS, fields=mme.fields)
    assert len(joined.responses) == 8


def test_pictures_without_a_name_pair_questions_by_their_bytes():
    rows = [
        {"index": i, "image": base64.b64encode(bytes(range(i // 2, 99))).decode(), "category": c,
         "question": line[1], "answer": line[2]}
        for i, (c, line) in enumerate((c, line) for c, lines in LINES.items() for line in lines)
    ]  # fmt: skip
    found = mme.load([SourceFile("MME.tsv", rows)]).questions
    assert [len({q.unit for q in found[i : i + 2]}) for i in range(0, 8, 2)] == [1] * 4
    assert len({q.unit for q in found}) == 4


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "needs labels: <category>.txt"),
        (text_files({"count": LINES["count"][:3]}), "two questions an image, count/2 has 1"),
        (text_files({"count": LINES["count"][:2] * 2}), "count.txt: mme question twice"),
        (text_files({"counting": LINES["count"]}), "unknown mme category 'counting'"),
        ([SourceFile("count.txt", "a\tb\n")], "count.txt, line 1: expected image, question"),
        ([SourceFile("count.txt", "a\tb\tmaybe\n")], "answer yes or no"),
        ([SourceFile("mme.json", {"a": 1})], "mme.json: mme needs records"),
    ],
)
def test_bad_files_are_refused(files, message):
    with pytest.raises(BenchmarkError, match=message):
        mme.load(files)


def test_precision_and_recall_leave_other_answers_out():
    said = ["Yes", "Yes", "church", "No", "No", "No", "Yes", "church"]
    answers = scored(BENCHMARK, dict(zip([q.question_id for q in BENCHMARK.questions], said,
                                         strict=True)))  # fmt: skip
    found = figures(mme.blocks(answers))
    # count: golds yes no no yes, said yes yes other no.
    assert found["count", "precision"].value == 1 / 2 and found["count", "recall"].value == 1 / 2
    assert found["count", "other"].value == 1 / 4 and found["all", "other"].value == 2 / 8
    assert found["count", "acc"].value == 1 / 4  # of all four: other is wrong
    assert found["scene", "precision"].value is None  # nothing said yes; official: 0
    assert found["all", "acc"].n == 8


def test_half_a_pair_of_a_partial_file_is_in_acc_only():
    found = values(mme.blocks(scored(BENCHMARK, {
        q.question_id: q.answer for q in BENCHMARK.questions[:3]
    })))  # fmt: skip
    assert found["count", "acc"] == 1 and found["count", "acc_plus"] == 1
    only_one = values(mme.blocks(scored(BENCHMARK, {BENCHMARK.questions[0].question_id: "yes"})))
    assert only_one["count", "acc"] == 1 and only_one["count", "acc_plus"] is None
