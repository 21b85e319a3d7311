"""Synthetic questions in the forms of MMBench."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation import mmbench
from mbpo_core.evaluation.join import join
from mbpo_core.evaluation.protocol import BenchmarkError, SourceFile
from tests.mbpo_core.evaluation.published import figures, scored, values

PICTURE = base64.b64encode(bytes(range(90))).decode()


def rotations(number, texts, gold, category, l2, hint=None):
    """One question as the TSV has it: a row for each rotation of its options."""
    rows = []
    for k in range(len(texts)):
        turned = [*texts[k:], *texts[:k], None, None][:4]
        rows.append({
            "index": number + k * mmbench.COPIES, "question": f"Which is {number}?", "hint": hint,
            **dict(zip("ABCD", turned, strict=True)), "answer": "ABCD"[turned.index(gold)],
            "category": category if k == 0 else "another", "l2-category": l2, "split": "dev",
            "image": PICTURE if k == 0 else str(number),
        })  # fmt: skip
    return rows


ROWS = [
    *rotations(0, ["red", "green", "blue", "black"], "green", "color", "perception", "A hint."),
    *rotations(1, ["one", "two"], "two", "count", "perception"),
    *rotations(2, ["up", "down", "left"], "left", "position", "reasoning"),
    *rotations(241, ["yes", "no"], "yes", "count", "reasoning"),
]
BENCHMARK = mmbench.load([SourceFile("MMBench_DEV_EN.tsv", ROWS)])
IDS = [q.question_id for q in BENCHMARK.questions]


@given(st.lists(st.booleans(), min_size=len(ROWS), max_size=len(ROWS)))
def test_a_question_counts_only_if_all_its_rotations_are_right(right):
    said = {
        str(row["index"]): row["answer"] if ok else "hm"
        for row, ok in zip(ROWS, right, strict=True)
    }
    found = values(mmbench.blocks(scored(BENCHMARK, said)))
    groups = {}
    for row, ok in zip(ROWS, right, strict=True):
        groups.setdefault(row["index"] % 1_000_000, []).append(ok)
    assert found["all", "circular"] == sum(map(all, groups.values())) / 4
    assert found["all", "vanilla"] == sum(oks[0] for oks in groups.values()) / 4
    assert found["all", "vanilla_all"] == pytest.approx(sum(right) / len(ROWS))
    # Of the first row's category: the copies here are called "another".
    assert found["count", "circular"] == (all(groups[1]) + all(groups[241])) / 2
    assert found["l2/perception", "circular"] == (all(groups[0]) + all(groups[1])) / 2
    assert ("another", "circular") not in found
    assert found["all", "unread"] == pytest.approx(1 - sum(right) / len(ROWS))


def test_fewer_options_hints_and_pictures():
    by_id = {q.question_id: q for q in BENCHMARK.questions}
    assert len(by_id["1"].options) == 2 and len(by_id["1000002"].options) == 3
    assert by_id["0"].text == "A hint.\nWhich is 0?\nA. red\nB. green\nC. blue\nD. black"
    assert by_id["0"].prompt == (  # as lmms-eval asks, with its empty line
        "A hint. Which is 0? There are several options:\nA. red\nB. green\nC. blue\nD. black\n"
        "\nAnswer with the option's letter from the given choices directly."
    )
    assert {q.image for q in BENCHMARK.questions} == {bytes(range(90))}
    assert by_id["1000241"].unit == by_id["241"].unit == "241"


def test_always_saying_a_is_right_by_chance_but_not_around_the_circle():
    found = values(mmbench.blocks(scored(BENCHMARK, dict.fromkeys(IDS, "A"))))
    assert found["all", "circular"] == 0 < found["all", "vanilla_all"]
    assert found["all", "vanilla"] == 1 / 4


def test_answer_files_are_joined_by_index_and_their_options_compared():
    llava = [{"question_id": r["index"], "round_id": 0, "prompt": "anything", "text": r["answer"],
              "options": [r[c] for c in "ABCD" if r[c]], "option_char": list("ABCD")}
             for r in reversed(ROWS)]  # fmt: skip
    sheet = [{n: r[n] for n in r if n not in ("hint", "image")} | {"prediction": r["answer"]}
             for r in ROWS]  # fmt: skip
    for records in (llava, sheet):
        joined = join(BENCHMARK.questions, records, mmbench.KEYS, fields=mmbench.fields)
        found = figures(mmbench.blocks(scored(BENCHMARK, joined.responses)))
        assert found["all", "circular"].value == 1 and found["all", "vanilla"].n == len(ROWS)
    other = [{**llava[0], "options": ["other", "options"]}, *llava[1:]]
    with pytest.raises(BenchmarkError, match=r"its options is .*another set of questions"):
        join(BENCHMARK.questions, other, mmbench.KEYS, fields=mmbench.fields)


def test_numbers_in_cells_and_cells_that_are_empty():
    """A sheet may hold the option 3 as a float, and an empty cell as not a number."""
    row = {"index": 5, "question": "How many?", "A": 3.0, "B": "4", "C": float("nan"), "D": "",
           "answer": "A", "L2-category": "x", "category": "count"}  # fmt: skip
    (question,) = mmbench.load([SourceFile("mmbench.parquet", [row])]).questions
    assert question.options == (("A", "3"), ("B", "4")) and question.facts["l2"] == "x"


def test_a_table_without_rotations_has_circular_equal_to_vanilla():
    firsts = mmbench.load([SourceFile("first_rows.tsv", [
        r for r in ROWS if r["index"] < mmbench.COPIES
    ])])  # fmt: skip
    found = values(mmbench.blocks(scored(firsts, {q.question_id: "B" for q in firsts.questions})))
    assert found["all", "circular"] == found["all", "vanilla"] == found["all", "vanilla_all"] == 0.5


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "mmbench needs records"),
        ([{**ROWS[0], "answer": None}], "got None .*a test split hides it"),
        ([{**ROWS[0], "answer": "E"}], "one of A, B, C, D, got 'E'"),
        ([{**ROWS[0], "index": "x"}], "expected index, question, columns A to D"),
        ([ROWS[0], ROWS[0]], "an index stands twice"),
        ([ROWS[1]], r"1 copies without their first question \(index 1000000\)"),
        (["row"], "no record: 'row'"),
        ("text", "expected a list of records"),
    ],
)
def test_bad_files_are_refused(rows, message):
    with pytest.raises(BenchmarkError, match=message):
        mmbench.load([SourceFile("MMBench.tsv", rows)])
