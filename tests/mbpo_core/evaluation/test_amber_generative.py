"""AMBER, generative. The 166 answers of LLaVA-1.5-7B are real; all other descriptions, those of
`synthetic_gen` too, are synthetic.
"""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation import amber_generative
from mbpo_core.evaluation.amber_generative import AmberGenerative, nouns
from mbpo_core.evaluation.benchmarks import BENCHMARKS
from mbpo_core.evaluation.protocol import Answer, BenchmarkError, Score, SourceFile
from mbpo_core.evaluation.statistics import estimates
from tests.mbpo_core.evaluation.caption_benchmarks import answers, figures, source

NAME = "amber-generative"
RELATION = SourceFile("relation.json", {
    "forest": ["tree", "bush"], "tree": ["forest"], "dog": ["puppy"], "cat": [], "sky": [],
    "person": ["man"],
})  # fmt: skip
SAFE = SourceFile("safe_words.txt", "line\nsign")
ANNOTATIONS = SourceFile("annotations.json", [
    {"id": 1, "type": "generative", "truth": ["sky", "forest", "tree"], "hallu": ["dog", "cat"]},
    {"id": 2, "type": "generative", "truth": ["person", "person"], "hallu": []},
    {"id": 1005, "type": "discriminative-hallucination", "truth": "no"},
])  # fmt: skip
FILES = (ANNOTATIONS, RELATION, SAFE)


@pytest.fixture
def words(monkeypatch):
    """Every word of a response is a noun in its basic form."""
    monkeypatch.setattr(amber_generative, "nouns", str.split)


def loaded(*files, similarity=amber_generative.identity):
    return amber_generative.load(files or FILES, similarity=similarity)


def score(response, number=1, **kwargs):
    benchmark = loaded(**kwargs)
    (question,) = [q for q in benchmark.questions if q.question_id == str(number)]
    return benchmark.score(question, response)


def test_mentions_are_words_of_the_vocabulary(words):
    found = score("sky sky puppy zebra man")
    assert found.facts["words"] == ["sky", "sky", "puppy", "man"]
    assert found.facts["hallucinated"] == ["puppy", "man"]
    assert found.facts["covered"] == ["sky"]
    assert found.facts["cognitive"] == ["dog"]
    assert (found.mentions, found.hallucinated, found.points) == (4, 2, 0.0)


def test_an_object_associated_with_another_one_counts_as_that_other(words):
    """The associated words are looked up first, in the order of the objects."""
    assert score("tree").facts["covered"] == ["forest"]
    assert score("forest").facts["covered"] == ["tree"]
    assert score("tree bush").facts["covered"] == ["forest"]
    assert score("tree bush").facts["truth"] == ["sky", "forest", "tree"]


def test_of_an_object_listed_twice_the_first_is_named(words):
    assert score("person man", 2).facts["covered"] == ["person"]
    assert score("person man", 2).facts["truth"] == ["person", "person"]


def test_safe_words_count_as_mentions_if_they_are_in_the_vocabulary(words):
    relation = SourceFile("relation.json", {**RELATION.content, "sign": []})
    found = amber_generative.load((ANNOTATIONS, relation, SAFE))
    scored = found.score(found.questions[0], "sign line cat")
    assert (scored.facts["words"], scored.facts["hallucinated"]) == (["sign", "cat"], ["cat"])


def test_similar_words_bear_out_a_mention_and_count_as_imagined_too(words):
    def similarity(a, b):
        return 1.0 if a == b else {("man", "sky"): 0.81, ("man", "cat"): 0.9}.get((a, b), 0.8)

    found = score("man", similarity=similarity)
    assert found.facts["covered"] == ["sky"]
    assert found.facts["cognitive"] == ["cat"]
    assert found.hallucinated == 0
    assert score("man").hallucinated == 1


def test_a_likely_word_is_imagined_by_name_and_by_likeness(words):
    def similarity(a, b):
        return float(a == b or (a, b) == ("cat", "dog"))

    assert score("cat", similarity=similarity).facts["cognitive"] == ["dog", "cat"]
    assert score("cat").facts["cognitive"] == ["cat"]


def test_nouns_keep_their_capitals(nltk_data):
    assert nouns("Two dogs run under the Sky and the clouds.") == ["dog", "Sky", "cloud"]


def test_figures_by_hand(words):
    scored = answers(NAME, loaded(), [{"id": 1, "response": "sky puppy"},
                                      {"id": 2, "response": ""}])  # fmt: skip
    found, kinds = figures(amber_generative.blocks, scored)
    assert found["chair"] == round(1 / 2.001 * 100, 1)
    assert found["cover"] == round(1 / 5.001 * 100, 1)
    assert found["hal"] == round(100 - 1 / 2.001 * 100, 1)
    assert found["cog"] == round(1 / 2.001 * 100, 1)
    assert kinds == ["generative"]
    assert [a.score.extracted for a in scored] == ["sky, puppy", None]


def test_counters_start_above_nothing_so_that_no_figure_is_undefined(words):
    scored = answers(NAME, loaded(), [{"id": 2, "response": ""}])
    found, _ = figures(amber_generative.blocks, scored)
    assert (found["chair"], found["cog"], found["hal"]) == (0.0, 0.0, round(100 - 100 / 1.001, 1))


ROWS = st.lists(st.tuples(*[st.integers(0, 6)] * 6), min_size=1, max_size=12)


@given(ROWS)
def test_figures_are_those_of_running_counters(rows):
    """As the script counts: one answer after the other, upwards from 0.001."""
    scored, counts = [], dict.fromkeys(("chair", "cover", "cog", "hal"), (0, 0.001))
    for i, (true, absent, named, missed, imagined, other) in enumerate(rows):
        facts = {"covered": ["x"] * named, "truth": ["x"] * (named + missed),
                 "cognitive": ["x"] * imagined, "likely": ["x"] * (imagined + other)}  # fmt: skip
        result = Score(mentions=true + absent, hallucinated=absent, facts=facts)
        scored.append(Answer("m", NAME, str(i), "generative", str(i), "", result))
        step = {"chair": (absent, true + absent), "cover": (named, named + missed),
                "cog": (imagined, imagined + other), "hal": (absent == 0, 1)}  # fmt: skip
        counts = {name: (a + step[name][0], b + step[name][1]) for name, (a, b) in counts.items()}
    printed = {name: round(a / b * 100, 1) for name, (a, b) in counts.items()}
    printed["hal"] = round(100 - counts["hal"][0] / counts["hal"][1] * 100, 1)
    found, _ = figures(amber_generative.blocks, scored)
    assert found == pytest.approx(printed, abs=1e-9)


def test_intervals_are_of_rounded_figures(words):
    scored = answers(NAME, loaded(), [{"id": i, "response": "sky cat"} for i in (1, 2)])
    (block,) = amber_generative.blocks(scored)
    for _, estimate in estimates(block, draws=20, seed=0):
        assert estimate.value == round(estimate.value, 1)
        assert estimate.low <= estimate.value <= estimate.high


def test_questions_are_the_generative_ones_with_the_text_of_the_query(words):
    query = SourceFile("query_all.json", [
        {"id": 1, "image": "AMBER_1.jpg", "query": "Describe it."},
        {"id": 1005, "image": "AMBER_1.jpg", "query": "Is there a dog?"},
    ])  # fmt: skip
    first, second = loaded(*FILES, query).questions
    assert (first.prompt, first.image, first.unit) == ("Describe it.", "AMBER_1.jpg", "AMBER_1")
    assert (second.prompt, second.image) == ("Describe this image.", "AMBER_2.jpg")
    assert json.loads(json.dumps(first.facts)) == first.facts


def test_answers_name_the_id_or_the_image(words):
    said = [{"image": "data/AMBER_2.jpg", "response": "sky"}, {"id": 1, "response": "cat"}]
    assert {a.question_id: a.response for a in answers(NAME, loaded(), said)} == {
        "1": "cat", "2": "sky"
    }  # fmt: skip
    with pytest.raises(BenchmarkError, match="have no question"):
        answers(NAME, loaded(), [*said, {"id": 1005, "response": "Yes"}])


def test_rows_of_a_mirror_bring_picture_and_query(words):
    rows = [{"id": "1", "image": {"bytes": b"JPEG"}, "query": "Describe it.", "truth": ["sky"],
             "hallu": ["cat"]}]  # fmt: skip
    (question,) = loaded(SourceFile("train.parquet", rows), RELATION, SAFE).questions
    assert (question.image, question.prompt) == (b"JPEG", "Describe it.")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((RELATION, SAFE), "no generative annotation"),
        ((ANNOTATIONS, SAFE), "one of each"),
        ((ANNOTATIONS, RELATION), "one of each"),
        ((*FILES, ANNOTATIONS), "twice"),
        ((SourceFile("a.json", [{"id": 1, "truth": ["zebra"], "hallu": []}]), RELATION, SAFE),
         "'zebra' of annotation 1 is not in relation.json"),
        ((SourceFile("a.json", [{"truth": [], "hallu": []}]), RELATION, SAFE), "without id"),
    ],
)  # fmt: skip
def test_bad_files_are_named(words, files, message):
    with pytest.raises(BenchmarkError, match=message):
        loaded(*files)


@given(text=st.text(max_size=200))
def test_no_response_makes_scoring_fail(nltk_data, text):
    benchmark: AmberGenerative = loaded()
    found = benchmark.score(benchmark.questions[0], text)
    assert found.points == float(found.hallucinated == 0)


@pytest.mark.parametrize(
    ("file", "output"),
    [("llava-v1.5-7b_gen_first166", "real_llava15_7b_166_g"),
     ("synthetic_gen_1004", "synthetic_gen")],
)  # fmt: skip
def test_the_official_output(shared_data, nltk_data, file, output):
    folder = shared_data / "eval" / "amber"
    if not folder.is_dir():
        pytest.skip(f"no AMBER at {folder}")
    text = json.loads((folder / "expected.json").read_text())["outputs"][output]
    lines = re.findall(r"(CHAIR|Cover|Hal|Cog):\s+([\d.]+)", text)
    printed = {name.lower(): float(value) for name, value in lines}
    names = ("annotations.json", "relation.json", "safe_words.txt", "query/query_generative.json")
    benchmark = BENCHMARKS[NAME].load([source(folder / name) for name in names])
    records = source(folder / "responses" / f"{file}.json").content
    scored = answers(NAME, benchmark, records)
    assert len(scored) == len(records)
    assert figures(amber_generative.blocks, scored)[0] == printed
    assert len(printed) == len(amber_generative.FIGURES)
