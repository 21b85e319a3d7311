import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation import amber_discriminative as amber
from mbpo_core.evaluation.join import join
from mbpo_core.evaluation.protocol import BenchmarkError, SourceFile
from tests.mbpo_core.evaluation.published import figures, scored, source, values

HEADINGS = {
    "Descriminative Task": "all", "Exsitence": "existence", "Attribute": "attribute",
    "State": "state", "Number": "number", "Action": "action", "Relation": "relation",
}  # fmt: skip
"""As the official script spells them."""


def printed(text):
    """Figures of the official script's output by kind and metric."""
    found, kind = {}, None
    for line in text.splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        if name in HEADINGS:
            kind = HEADINGS[name]
        elif kind and value:
            found[kind, name.lower()] = float(value)
    return found


@pytest.fixture(scope="module")
def folder(shared_data):
    if not (shared_data / "eval/amber").is_dir():
        pytest.skip(f"no AMBER files in {shared_data / 'eval/amber'}")
    return shared_data / "eval/amber"


@pytest.fixture(scope="module")
def benchmark(folder):
    return amber.load(
        [source(folder / "annotations.json"), source(folder / "query/query_all.json.gz")]
    )


@pytest.mark.parametrize("name", ["hash60", "all_yes", "noisy_oracle80", "all_no"])
def test_every_figure_that_the_official_script_printed(folder, benchmark, name):
    """The responses are synthetic, made by rule; the questions and annotations are AMBER's."""
    expected = printed(json.loads((folder / "expected.json").read_text())["outputs"][name])
    assert len(expected) == 7 * 4
    records = source(folder / f"responses/synthetic_disc_{name}.json.gz").content
    joined = join(benchmark.questions, records[::-1], amber.KEYS)
    found = values(amber.blocks(scored(benchmark, joined.responses)))
    assert {key: found[key] for key in expected} == expected


def test_the_counts_of_the_published_annotations(benchmark):
    """As counted in the published file: 14,216 questions, 9,427 of them with truth no."""
    assert len(benchmark.questions) == 14216
    assert sum(q.answer == "no" for q in benchmark.questions) == 9427
    assert all(q.answer == "no" for q in benchmark.questions if q.kind == "existence")


# Synthetic questions in the published forms.
TYPES = list(amber.KINDS)
ANNOTATIONS = [
    {"id": 1, "type": "generative", "truth": ["cat"], "hallu": ["dog"]},
    *({"id": i + 2, "type": TYPES[i % 6], "truth": "yes" if i % 4 else "no"} for i in range(24)),
]
QUERIES = [
    {"id": a["id"], "image": f"AMBER_{a['id'] // 3}.jpg", "query": f"Is it {a['id']}?"}
    for a in ANNOTATIONS
]
FILES = [SourceFile("annotations.json", ANNOTATIONS), SourceFile("query_all.json", QUERIES)]
SMALL = amber.load(FILES)
IDS = [q.question_id for q in SMALL.questions]


def rounded(above, below):
    return round(above / below * 100, 1)


@given(st.lists(st.sampled_from(["Yes", "No", "", "a cat"]), min_size=24, max_size=24))
def test_figures_are_the_official_sums_restated(responses):
    """Straight from the definition: "No" is positive, counters start at 0.001, P and R rounded."""
    said = dict(zip(IDS, responses, strict=True))
    found = values(amber.blocks(scored(SMALL, said)))
    groups = {"all": None, "attribute": ("state", "number", "action"), "existence": ("existence",),
              "state": ("state",), "relation": ("relation",)}  # fmt: skip
    for kind, members in groups.items():
        chosen = [q for q in SMALL.questions if not members or q.kind in members]
        rows = [(q, said[q.question_id]) for q in chosen]
        start = 0.003 if kind == "attribute" else 0.001
        no = sum(r == "No" for _, r in rows) + start
        truth_no = sum(q.answer == "no" for q, _ in rows) + start
        both = sum(r == "No" and q.answer == "no" for q, r in rows)
        p, r = rounded(both, no), rounded(both, truth_no)
        e = 0.001 if kind == "existence" else 0.0001
        assert found[kind, "precision"] == p and found[kind, "recall"] == r
        right = sum(r.lower() == q.answer for q, r in rows)
        assert found[kind, "accuracy"] == rounded(right, len(rows) + start)
        f1 = 2 * (p / 100) * (r / 100) / (p / 100 + r / 100 + e)
        assert found[kind, "f1"] == round(f1 * 100, 1)


def test_no_is_the_positive_class():
    always_no = values(amber.blocks(scored(SMALL, dict.fromkeys(IDS, "No"))))
    always_yes = values(amber.blocks(scored(SMALL, dict.fromkeys(IDS, "Yes"))))
    assert always_no["all", "recall"] == 100 and always_yes["all", "recall"] == 0
    assert always_yes["all", "f1"] == 0 and always_yes["all", "precision"] == 0


def test_generative_questions_are_another_benchmark():
    assert "1" not in IDS and len(IDS) == 24
    with pytest.raises(BenchmarkError, match="1 of 25 answers have no question"):
        join(SMALL.questions, [{"id": i, "response": "No"} for i in (1, *IDS)], amber.KEYS)


@pytest.mark.parametrize(
    ("response", "extracted", "rule"),
    [
        ("Yes", "yes", "exact"), ("No", "no", "exact"), ("yes.", "yes", "first_word"),
        ("No, there is no dog.", "no", "first_word"), ("NO", "no", "first_word"),
        ("The answer is yes.", "yes", "stated"), ("There is no dog.", "no", "only_word"),
        ("", None, "empty"), ("A dog.", None, "unparseable"), ("Nothing", None, "unparseable"),
        ("Yes and no", None, "contradictory"),
    ],
)  # fmt: skip
def test_how_an_answer_is_read(response, extracted, rule):
    question = SMALL.questions[0]
    score = SMALL.score(question, response)
    assert (score.extracted, score.rule) == (extracted, rule)
    assert score.correct is (extracted == question.answer)


def test_what_cannot_be_read_is_wrong_no_answer_no_and_counted():
    said = {**dict.fromkeys(IDS, "No"), IDS[0]: "A dog."}
    found = figures(amber.blocks(scored(SMALL, said)))
    positives = [q for q in SMALL.questions if q.answer == "no"]
    assert SMALL.questions[0] in positives
    want = rounded(len(positives) - 1, len(positives) + 0.001)
    assert found["all", "recall"].value == want
    assert found["all", "unread"].value == 1 / 24 and found["all", "unread"].n == 24


def test_vlmevalkits_table_holds_the_same_questions():
    rows = [
        {"index": q["id"], "image_path": q["image"], "question": q["query"],
         "answer": a["truth"].capitalize(), "category": a["type"]}
        for q, a in zip(QUERIES[1:], ANNOTATIONS[1:], strict=True)
    ]  # fmt: skip
    assert amber.load([SourceFile("AMBER.tsv", rows)]).questions == SMALL.questions


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (FILES[:1], "needs annotations.json and query_all.json"),
        ([SourceFile("a.json", ANNOTATIONS[:3]), FILES[1]], "question 4 is not in annotations"),
        ([*FILES, FILES[1]], "an id stands twice"),
        ([SourceFile("a.json", [{"id": 2, "type": "new", "truth": "no"}]),
          SourceFile("q.json", QUERIES[1:2])], r"q.json: expected a question.*discriminative-hall"),
    ],
)  # fmt: skip
def test_bad_files_are_refused(files, message):
    with pytest.raises(BenchmarkError, match=message):
        amber.load(files)


@given(st.floats(0, 100), st.floats(0, 100))
def test_amber_score_is_the_mean_of_both_parts(chair, f1):
    assert amber.amber_score(chair, f1) == pytest.approx(((100 - chair) + f1) / 2)
    assert 0 <= amber.amber_score(chair, f1) <= 100
