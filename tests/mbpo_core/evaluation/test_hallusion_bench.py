"""All questions and answers here are synthetic, in the forms of HallusionBench."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation import hallusion_bench as hallusion
from mbpo_core.evaluation import hallusion_figures
from mbpo_core.evaluation.join import join
from mbpo_core.evaluation.protocol import Answer, BenchmarkError, Review, SourceFile
from tests.mbpo_core.evaluation.published import scored, values


def record(category, subcategory, visual, place, gold):
    set_id, figure, question = place
    name = f"./hallusion_bench/{category}/{subcategory}/{set_id}_{figure}.png"
    return {
        "category": category, "subcategory": subcategory, "visual_input": visual,
        "set_id": set_id, "figure_id": figure, "sample_note": "", "question_id": question,
        "question": f"Is {subcategory} {set_id} {question}?", "gt_answer": gold,
        "gt_answer_details": f"The reference of {set_id}.",
        "filename": None if visual == "0" else name,
    }  # fmt: skip


RECORDS = [
    *(record("VD", "illusion", "2" if f != "0" else "1", (s, f, q), str((int(f) + int(q)) % 2))
      for s in "01" for f in "012" for q in "01"),
    *(record("VS", "chart", "012"[int(f)], (s, f, q), str(int(q)))
      for s in "01" for f in "012" for q in "01"),
    # The same numbers in another subcategory are other sets.
    *(record("VD", "ocr", "1", ("0", "0", q), "1") for q in "01"),
    *(record("VS", "ocr", "0", ("0", "0", q), "0") for q in "01"),
]  # fmt: skip
FILE = SourceFile("HallusionBench.json", RECORDS)
OFFLINE, JUDGED = hallusion.load([FILE]), hallusion.load_judged([FILE])
N = len(RECORDS)


def figures(answers):
    return values(hallusion_figures.blocks(answers))


def restated(rows, right):
    """Percent of groups all of whose questions are right; groups by the official names."""
    groups = {}
    for name, ok in zip(rows, right, strict=True):
        if name is not None:
            groups.setdefault(name, []).append(ok)
    return round(100 * sum(map(all, groups.values())) / len(groups), 4) if groups else None


VERDICTS = st.lists(st.sampled_from("012"), min_size=N, max_size=N)


@given(VERDICTS, st.sampled_from(["all", "VD", "VS"]))
def test_figures_are_those_of_the_official_groups(verdicts, kind):
    said = {"0": "incorrect", "1": "Correct.", "2": "unclear"}
    answers = [
        Answer("m", q.benchmark, q.question_id, q.kind, q.unit, "x",
               JUDGED.score(q, "x", Review(said[v], "", "")))
        for q, v in zip(JUDGED.questions, verdicts, strict=True)
    ]  # fmt: skip
    found = figures(answers)
    both = zip(RECORDS, verdicts, strict=True)
    rows = [(r, v) for r, v in both if kind in ("all", r["category"])]
    right = [
        v == "1" or (v == "2" and r["category"] == "VS" and r["figure_id"] == "0") for r, v in rows
    ]

    def names(*fields):
        return ["_".join(r[f] for f in ("category", "subcategory", "set_id", *fields))
                for r, _ in rows]  # fmt: skip

    pairs, every = names("question_id"), names("figure_id", "question_id")
    no_figure = [r["category"] == "VS" and r["figure_id"] == "0" for r, _ in rows]
    hard = [r["visual_input"] == "2" for r, _ in rows]
    by_figure = [None if no else n for n, no in zip(names("figure_id"), no_figure, strict=True)]
    assert found[kind, "aAcc"] == restated(every, right)
    assert found[kind, "fAcc"] == restated(by_figure, right)
    assert found[kind, "qAcc"] == restated(pairs, right)
    for metric, wanted in (("easy_aAcc", False), ("hard_aAcc", True)):
        group = [n if is_hard is wanted else None for n, is_hard in zip(pairs, hard, strict=True)]
        assert found[kind, metric] == restated(group, right)
    assert found[kind, "unclear"] == pytest.approx(sum(v == "2" for _, v in rows) / len(rows))


def test_sets_of_equal_numbers_in_other_subcategories_are_apart():
    """VD and VS both have a subcategory ocr, with a set 0."""
    answers = scored(OFFLINE, {
        q.question_id: "yes" if "VD_ocr" in q.question_id else "maybe" for q in OFFLINE.questions
    })  # fmt: skip
    found = figures(answers)
    assert found["VD/ocr", "fAcc"] == 100 and found["VS/ocr", "fAcc"] is None
    assert found["VD/ocr", "qAcc"] == 100 and found["VS/ocr", "qAcc"] == 100


def test_not_knowing_is_right_only_where_a_vs_question_has_no_figure():
    answers = scored(OFFLINE, {q.question_id: "I cannot tell" for q in OFFLINE.questions})
    for answer in answers:
        facts = answer.score.facts
        expected = facts["category"] == "VS" and facts["figure_id"] == "0"
        assert answer.score.correct is expected and answer.score.extracted is None
        assert facts["verdict"] == "unclear"


@pytest.mark.parametrize(
    ("response", "yes"),
    [
        ("Yes.", True), ("No, it is not", False), ("It is, yes", True), ("Yes or no", None),
        ("", None), ("**Yes**", None), ("Yes: it is", None), ("yes/maybe", True), ("(no)", False),
        ("I know nothing", None), ("no-one", False), ("yes,it is 1,000", None), ("Yes" * 3, None),
    ],
)  # fmt: skip
def test_the_offline_reading(response, yes):
    """A mark between letters parts words, unless one touches a space or digits are grouped."""
    assert hallusion.said_yes(response) is yes


def test_only_32_full_stops_are_dropped():
    """As VLMEvalKit does by mistake: in a longer answer "yes." is no yes."""
    assert hallusion.said_yes("x. " * 31 + "yes.") is True
    assert hallusion.said_yes("x. " * 32 + "yes.") is None
    assert hallusion.said_yes("x. " * 32 + "yes") is True


@given(st.text(alphabet="yesno .,-()1*\n", max_size=60))
def test_the_offline_reading_never_raises_and_needs_a_word(text):
    said = hallusion.said_yes(text)
    if said is not None:  # full stops are dropped first: "n.o" is a no
        assert ("yes" if said else "no") in text.lower().replace(".", "")


def test_the_bias_counts_as_the_official_script_does():
    """Right answers count with their gold answer, wrong ones with its opposite."""
    always = figures(scored(OFFLINE, {q.question_id: "Yes" for q in OFFLINE.questions}))
    golds = [r["gt_answer"] == "1" for r in RECORDS]
    assert always["all", "yes_bias"] == pytest.approx(1 - sum(golds) / N)
    assert always["all", "wrong_yes"] == 1


def test_the_judge_is_asked_word_for_word_and_read_in_the_official_order():
    """As `evaluate_by_chatgpt` joins it; braces of an answer are no placeholders."""
    question, response = JUDGED.questions[0], "Yes, {question} “is”.\n"
    request = JUDGED.request(question, response)
    (message,) = request.messages
    assert message["role"] == "user" and request.max_tokens is None
    start, rest = message["content"].split("\n\n Question:")
    assert start.startswith("Imagine you are an intelligent teacher. Thoroughly read")
    assert start.endswith('is unclear about the answer, please generate "unclear". ')
    assert "please generate “correct”." in start and "generate “incorrect”." in start
    assert rest == (
        f"{question.text}\nReference answer: The reference of 0.\nPrediction answer:{response}"
        "\nOutput:"
    )


@pytest.mark.parametrize(
    ("said", "verdict", "extracted"),
    [
        ("correct", "correct", "correct"), ("“Incorrect”", "incorrect", "incorrect"),
        ("It is not incorrect but correct", "incorrect", "incorrect"),
        ("unclear", "unclear", "unclear"), ("", "unclear", None), ("Sorry", "unclear", None),
    ],
)  # fmt: skip
def test_what_the_judge_says(said, verdict, extracted):
    score = JUDGED.score(JUDGED.questions[0], "Yes", Review(said, "gpt-4", ""))
    assert score.facts["verdict"] == verdict and score.extracted == extracted
    assert score.correct is (verdict == "correct")
    assert score.rule == ("judge" if extracted else "judge_neither")


@pytest.mark.parametrize("verdict", ["0", "1", "2", 0, 1, 2])
def test_saved_output_of_the_official_script_is_scored_again(verdict):
    question = JUDGED.questions[0]
    record = dict(zip(hallusion.PLACE, question.question_id.split("_"), strict=True))
    saved = SourceFile("saved.json", [record | {"gpt4v_output_gpt_check": verdict}])
    found = hallusion.reviews(JUDGED.questions, saved)
    score = JUDGED.score(question, "x", found[question.question_id])
    assert score.facts["verdict"] == ("incorrect", "correct", "unclear")[int(verdict)]


def test_an_answer_without_a_review_has_no_score():
    assert JUDGED.score(JUDGED.questions[0], "Yes").reason.startswith("unjudged")
    assert JUDGED.score(JUDGED.questions[0], "Yes").correct is None


def test_questions_without_visual_input_have_no_image():
    by_id = {q.question_id: q for q in OFFLINE.questions}
    assert by_id["VS_chart_0_0_1"].image is None
    assert by_id["VS_chart_0_1_1"].image == "hallusion_bench/VS/chart/0_1.png"
    assert by_id["VD_illusion_1_2_0"].unit == "VD_illusion_1"
    rows = [{**r, "image": {"bytes": b"x", "path": None}} for r in RECORDS]
    images = [q.image for q in hallusion.load([SourceFile("image.parquet", rows)]).questions]
    assert images == [None if r["visual_input"] == "0" else b"x" for r in RECORDS]


def test_the_official_answer_file_and_vlmevalkits_table():
    """The answer file is the question file with `model_prediction`."""
    answers = [{**r, "model_prediction": "Yes"} for r in reversed(RECORDS)]
    joined = join(OFFLINE.questions, answers, hallusion.KEYS, fields=hallusion.fields)
    assert list(joined.responses.values()) == ["Yes"] * N
    with pytest.raises(BenchmarkError, match="its text is 'is something else"):
        other = [{**answers[0], "question": "Is something else?"}, *answers[1:]]
        join(OFFLINE.questions, other, hallusion.KEYS, fields=hallusion.fields)
    table = [
        {"index": "_".join(r[f] for f in ("category", "subcategory", "visual_input", "set_id",
                                          "figure_id", "question_id")),
         "category": r["category"], "l2-category": f"{r['category']}_{r['subcategory']}",
         "question": r["question"], "answer": "Yes" if r["gt_answer"] == "1" else "No"}
        for r in RECORDS
    ]  # fmt: skip
    found = hallusion.load([SourceFile("HallusionBench.tsv", table)]).questions
    assert [(q.question_id, q.answer, q.kind, q.unit) for q in found] == [
        (q.question_id, q.answer, q.kind, q.unit) for q in OFFLINE.questions
    ]
    said = [{"index": r["index"], "category": r["category"], "prediction": "no"} for r in table]
    joined = join(found, said, hallusion.KEYS, fields=hallusion.fields)
    assert list(joined.responses.values()) == ["no"] * N


def test_the_older_release_without_gold_answers_needs_the_judge():
    older = [{k: v for k, v in r.items() if k not in ("gt_answer", "filename")} for r in RECORDS]
    with pytest.raises(BenchmarkError, match=f"{N} questions have no gt_answer"):
        hallusion.load([SourceFile("HallusionBench_result_sample.json", older)])
    judged = hallusion.load_judged([SourceFile("HallusionBench_result_sample.json", older)])
    scores = [judged.score(q, "x", Review("correct", "", "")) for q in judged.questions]
    answers = [Answer("m", q.benchmark, q.question_id, q.kind, q.unit, "x", s)
               for q, s in zip(judged.questions, scores, strict=True)]  # fmt: skip
    found = figures(answers)
    assert found["all", "aAcc"] == 100 and ("all", "yes_bias") not in found


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "needs the records of HallusionBench.json"),
        ([SourceFile("a.json", {"a": 1})], "a.json: expected records"),
        ([SourceFile("a.json", [{"question": "?"}])], "a.json: expected category, subcategory"),
        ([FILE, FILE], "stands twice"),
        ([SourceFile("a.json", [{**RECORDS[0], "gt_answer": "2"}])], "question and gt_answer, got"),
    ],
)
def test_bad_files_are_refused(files, message):
    with pytest.raises(BenchmarkError, match=message):
        hallusion.load(files)


def test_the_judge_needs_references():
    with pytest.raises(BenchmarkError, match="1 questions have no gt_answer_details"):
        hallusion.load_judged([SourceFile("a.json", [{**RECORDS[0], "gt_answer_details": ""}])])
