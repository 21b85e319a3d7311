"""CHAIR. Captions of POPE's authors and of OPERA are real; all others are synthetic."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation import chair
from mbpo_core.evaluation.benchmarks import BENCHMARKS
from mbpo_core.evaluation.coco_objects import classic_vocabulary
from mbpo_core.evaluation.coco_truth import objects_from_coco
from mbpo_core.evaluation.lemmatisers import PatternSingulars, TaggedLemmas
from mbpo_core.evaluation.protocol import Answer, BenchmarkError, Question, Score, SourceFile
from mbpo_core.evaluation.statistics import differences, estimates
from tests.mbpo_core.evaluation.caption_benchmarks import answers, figures, source

SYNONYMS = SourceFile(
    "synonyms.txt",
    "person, man, woman\ndog, puppy\ncat\nbus\nskis, ski\ntennis racket, racket\nsandwich\n",
)
TABLE = SourceFile(
    "coco2014_imid_to_objects.json",
    {"42": ["dog", "person"], "139": ["cat"], "285": [], "632": ["bus", "skis", "person"]},
)
CAPTIONS = [
    {"image_id": 42, "caption": "A man and a woman walk two dogs and a cat."},
    {"image_id": 139, "caption": "Nothing of note."},
    {"image_id": 285, "caption": ""},
    {"image_id": 632, "caption": "Buses, skis. A puppy, puppies and a dog"},
]


@pytest.fixture(params=["chair", "chair-pattern"])
def name(request, nltk_data):
    return request.param


def loaded(name, *files):
    return BENCHMARKS[name].load(files or (SYNONYMS, TABLE))


def test_figures_by_hand(name):
    found, kinds = figures(chair.blocks, answers(name, loaded(name), CAPTIONS))
    # Mentions: man, woman, dog | cat; none; none; bus, skis | puppy, puppy, dog.
    assert found["chair_s"] == 2 / 4
    assert found["chair_i"] == (1 + 3) / (4 + 5)
    assert found["recall"] == (2 + 0 + 0 + 2) / (2 + 1 + 0 + 3)
    assert found["length"] == (12 + 4 + 0 + 11) / 4  # punctuation too
    assert kinds == [{"chair": "lemma", "chair-pattern": "pattern"}[name]]


def test_the_words_go_with_the_score(name):
    scores = {a.question_id: a.score for a in answers(name, loaded(name), CAPTIONS)}
    assert scores["632"].facts["words"] == ["bus", "ski", "puppy", "puppy", "dog"]
    assert scores["632"].facts["hallucinated"] == ["dog"] * 3
    assert scores["632"].facts["covered"] == ["bus", "skis"]
    assert (scores["632"].mentions, scores["632"].hallucinated, scores["632"].points) == (5, 3, 0.0)
    assert scores["42"].facts["truth"] == ["dog", "person"]
    assert scores["139"].points == 1.0
    assert scores["139"].extracted == ""
    assert scores["285"].extracted is None
    assert json.loads(json.dumps(scores["42"].facts)) == scores["42"].facts


def test_the_lemmatisers_differ_and_are_named(nltk_data):
    """ "bus" is "bu" to pattern, and "tennis racket" is "tenni racket"."""
    said = {"image_id": 632, "caption": "a bus and a tennis racket"}
    by = {name: answers(name, loaded(name), [said])[0] for name in ("chair", "chair-pattern")}
    assert by["chair"].score.facts["words"] == ["bus", "tennis racket"]
    assert by["chair-pattern"].score.facts["words"] == ["racket"]
    assert by["chair"].score.rule == "lemma"
    assert by["chair-pattern"].score.rule == "pattern"
    assert [by[name].benchmark for name in by] == ["chair", "chair-pattern"]


def test_a_lemmatiser_of_ones_own_is_named_too(nltk_data):
    class Same:
        name = "same"

        def __call__(self, words):
            return list(words)

    benchmark = chair.load([SYNONYMS, TABLE], lemmatiser=Same())
    question = benchmark.questions[0]
    assert (question.benchmark, question.kind) == ("chair-same", "same")
    assert benchmark.score(question, "dogs and a dog").facts["words"] == ["dog"]


@pytest.mark.parametrize(
    "named",
    [{"image_id": 42}, {"image_id": "COCO_val2014_000000000042.jpg"}, {"image": "val/000042.jpg"},
     {"image_id": "42"}, {"question_id": 7, "image_id": "000000000042.jpg"}],
)  # fmt: skip
def test_an_image_is_known_by_its_number(name, named):
    (answer,) = answers(name, loaded(name), [{**named, "caption": "a dog"}])
    assert (answer.question_id, answer.unit) == ("42", "42")


def test_captions_of_other_images_are_refused_not_dropped(name):
    with pytest.raises(BenchmarkError, match="have no question"):
        answers(name, loaded(name), [*CAPTIONS, {"image_id": 43, "caption": "a dog"}])


def test_two_captions_of_an_image_are_refused(name):
    with pytest.raises(BenchmarkError, match="different answers"):
        answers(name, loaded(name), [*CAPTIONS, {"image_id": 42, "caption": "a dog"}])


def test_questions_say_which_images_are_asked_about(name):
    """As in the file of 500 images that goes with "Less is more"."""
    asked = SourceFile("chair-500.jsonl", [
        {"question_id": 0, "image": "000000000042.jpg", "text": "What is it?", "category": "detail"}
    ])  # fmt: skip
    (question,) = loaded(name, SYNONYMS, TABLE, asked).questions
    assert (question.prompt, question.image) == ("What is it?", "000000000042.jpg")
    by_number = {"question_id": 0, "prompt": "Describe.", "text": "a dog"}
    (answer,) = answers(name, loaded(name, SYNONYMS, TABLE, asked), [by_number])
    assert answer.question_id == "42"


def test_without_questions_every_image_is_asked_about(name):
    benchmark = loaded(name)
    assert [q.question_id for q in benchmark.questions] == list(TABLE.content)
    assert {q.prompt for q in benchmark.questions} == {"Please describe this image in detail."}
    assert benchmark.questions[0].image == "000000000042.jpg"


def test_questions_that_bring_their_objects(name):
    """As the data set that lmms-eval reads, out of Parquet."""
    rows = [{"question_id": 42, "image": {"bytes": b"JPEG", "path": None}, "gt_object": ["dog"]}]
    benchmark = loaded(name, SYNONYMS, SourceFile("test.parquet", rows))
    (question,) = benchmark.questions
    assert (question.image, question.question_id) == (b"JPEG", "42")
    assert benchmark.score(question, "a dog and a cat").facts["hallucinated"] == ["cat"]


def test_a_picture_in_base64(name):
    rows = [{"image_id": 42, "image": "QUJD" * 200}]
    (question,) = loaded(name, SYNONYMS, TABLE, SourceFile("questions.tsv", rows)).questions
    assert question.image == b"ABC" * 200


def coco(split, first):
    images = [{"id": i, "file_name": f"COCO_{split}2014_{i:012d}.jpg"} for i in (first, first + 1)]
    categories = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
    masks = [{"image_id": first, "category_id": 18}, {"image_id": first, "category_id": 18}]
    said = [{"image_id": first, "caption": "Two buses."}, {"image_id": first, "caption": "A man."}]
    return (
        SourceFile(f"instances_{split}2014.json",
                   {"images": images, "categories": categories, "annotations": masks}),
        SourceFile(f"captions_{split}2014.json", {"images": images, "annotations": said}),
    )  # fmt: skip


def test_the_truth_is_masks_and_captions(name):
    benchmark = loaded(name, SYNONYMS, *coco("train", 1), *coco("val", 11))
    truth = {q.question_id: q.facts["objects"] for q in benchmark.questions}
    assert truth["1"] == truth["11"] == ["bus", "dog", "person"]
    assert truth["2"] == truth["12"] == []
    assert {q.image for q in benchmark.questions} >= {"COCO_val2014_000000000011.jpg"}


def test_the_truth_is_read_with_the_same_lemmatiser(nltk_data):
    instances, captions = (file.content for file in coco("val", 1))
    captions["annotations"] = [{"image_id": 1, "caption": "a bus"}]
    vocabulary = classic_vocabulary(SYNONYMS.content)
    found = [objects_from_coco([instances], [captions], vocabulary, lemmatiser)["1"]
             for lemmatiser in (TaggedLemmas(), PatternSingulars())]  # fmt: skip
    assert found == [{"dog", "bus"}, {"dog"}]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([TABLE], "needs one synonyms.txt"),
        ([SYNONYMS], "needs one truth"),
        ([SYNONYMS, TABLE, *coco("val", 1)], "needs one truth"),
        ([SYNONYMS, coco("val", 1)[0]], "not in both"),
        ([SYNONYMS, *coco("val", 1), coco("train", 5)[1]], "not in both"),
        ([SYNONYMS, SourceFile("t.json", {"42": ["zebra"]})], "zebra"),
        ([SYNONYMS, TABLE, SourceFile("q.jsonl", [{"image_id": 43}])], "nothing is known of image"),
        ([SYNONYMS, TABLE, SourceFile("q.jsonl", [{"image": "cat.jpg"}])], "COCO's number"),
        ([SYNONYMS, TABLE, SourceFile("q.jsonl", ["42"])], "no question"),
        ([SYNONYMS, TABLE, SourceFile("q.jsonl", [{"image_id": 42, "text": "a"},
                                                  {"image_id": 42, "text": "b"}])], "twice"),
        ([SYNONYMS, *coco("val", 1)[1:], SourceFile("instances_val2014.json", {
            "images": coco("val", 1)[1].content["images"], "categories": [{"id": 1, "name": "owl"}],
            "annotations": []})], "owl"),
        ([SYNONYMS, *coco("val", 1)[1:], SourceFile("instances_val2014.json", {
            "images": coco("val", 1)[1].content["images"], "categories": [{"id": 1}],
            "annotations": []})], "lack 'name'"),
    ],
)  # fmt: skip
def test_bad_files_are_named(name, files, message):
    with pytest.raises(BenchmarkError, match=message):
        loaded(name, *files)


ROWS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 3), st.integers(0, 3)),
    min_size=1, max_size=20,
)  # fmt: skip


def captioned(rows):
    """Answers with so many true mentions, absent ones, objects named and objects missed."""
    return [
        Answer("m", "chair", str(i), "lemma", str(i), "", Score(
            mentions=true + absent, hallucinated=absent,
            facts={"covered": ["x"] * named, "truth": ["x"] * (named + missed), "length": true}))
        for i, (true, absent, named, missed) in enumerate(rows)
    ]  # fmt: skip


@given(ROWS)
def test_figures_are_counts_over_all_captions(rows):
    found, _ = figures(chair.blocks, captioned(rows))
    mentions = sum(true + absent for true, absent, *_ in rows)
    objects = sum(named + missed for *_, named, missed in rows)
    assert found["chair_s"] == sum(absent > 0 for _, absent, *_ in rows) / len(rows)
    assert mentions == 0 or found["chair_i"] == sum(row[1] for row in rows) / mentions
    assert (mentions == 0) == (found["chair_i"] != found["chair_i"])
    assert objects == 0 or found["recall"] == sum(row[2] for row in rows) / objects


def test_images_are_drawn_for_the_interval_and_captions_compared_in_pairs():
    a, b = captioned([(3, 1, 1, 1)] * 8), captioned([(3, 0, 1, 1)] * 8)
    (block,), (other,) = chair.blocks(a), chair.blocks(b)
    figure, estimate = estimates(block, draws=50, seed=0)[1]
    assert (figure.metric, figure.better) == ("chair_i", -1)
    assert (estimate.value, estimate.low, estimate.high) == (1 / 4, 1 / 4, 1 / 4)
    change = {f.metric: d for f, d in differences(block, other, draws=50, seed=0)}
    assert change["chair_s"].difference == -1


@given(text=st.text(max_size=200))
def test_no_response_makes_scoring_fail(nltk_data, text):
    benchmark = loaded("chair")
    score = benchmark.score(benchmark.questions[0], text)
    assert score.mentions == len(score.facts["objects"]) >= score.hallucinated
    assert (score.extracted is None) == (not text.strip())


def real(shared_data):
    folder = shared_data / "eval" / "chair"
    if not folder.is_dir():
        pytest.skip(f"no captions at {folder}")
    files = [source(folder / n) for n in ("synonyms.txt", "coco2014_imid_to_objects.json.gz")]
    return folder, files, json.loads((folder / "expected.json").read_text())


def printed(found, metrics=("chair_s", "chair_i", "recall")):
    """As the official scripts print: percent with one decimal; length stands as it is."""
    return [float(f"{found[m] * 100:.1f}") for m in metrics]


@pytest.mark.parametrize(
    "files",
    [["Instruction1_instructblip", "Instruction2_minigpt-4"],
     pytest.param(None, marks=pytest.mark.slow)],
    ids=["two", "all"],
)  # fmt: skip
def test_real_captions_of_pope_give_the_official_figures(shared_data, nltk_data, files):
    folder, truth, expected = real(shared_data)
    benchmark = loaded("chair-pattern", *truth)
    official = expected["pope_captions_A_pattern"]
    for each in files or official:
        records = source(folder / "pope_captions" / f"{each}.jsonl.gz").content
        scored = answers("chair-pattern", benchmark, records)
        found, _ = figures(chair.blocks, scored)
        assert len(scored) == len(records)
        assert printed(found) == official[each], each


@pytest.mark.parametrize(("name", "key"), [("chair", "opera_B_lemma"),
                                           ("chair-pattern", "opera_A_pattern")])  # fmt: skip
def test_real_captions_of_opera_give_the_official_figures(shared_data, nltk_data, name, key):
    folder, truth, expected = real(shared_data)
    records = source(folder / "opera" / "llava-1.5_greedy.jsonl.gz").content
    found, _ = figures(chair.blocks, answers(name, loaded(name, *truth), records))
    (official,) = expected[key].values()
    assert [*printed(found), float(f"{found['length']:.1f}")][: len(official)] == official


def test_a_question_is_what_the_protocol_says(nltk_data):
    for question in loaded("chair").questions:
        assert isinstance(question, Question)
        assert json.loads(json.dumps(question.facts)) == question.facts
