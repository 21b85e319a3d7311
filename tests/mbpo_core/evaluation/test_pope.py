import base64
import json
import random
from collections import Counter

import pytest

from mbpo_core.evaluation import pope
from mbpo_core.evaluation.join import join, join_in_order
from mbpo_core.evaluation.protocol import BenchmarkError, SourceFile
from tests.mbpo_core.evaluation.published import figures, scored, source

SPLITS = ("random", "popular", "adversarial")


@pytest.fixture(scope="module")
def folder(shared_data):
    if not (shared_data / "eval/pope").is_dir():
        pytest.skip(f"no POPE files in {shared_data / 'eval/pope'}")
    return shared_data / "eval/pope"


def labels(folder, questions="questions_v1_2910"):
    return [source(folder / questions / f"coco_pope_{split}.json.gz") for split in SPLITS]


@pytest.fixture(scope="module")
def llava(folder):
    """The questions that LLaVA-1.5 was asked, with its ids."""
    return pope.load([*labels(folder), source(folder / "llava_pope_test.jsonl.gz")])


@pytest.fixture(scope="module")
def answers_13b(folder):
    return source(folder / "answers_llava-v1.5-13b.jsonl.gz").content


def test_every_published_figure_of_real_answers(folder, llava, answers_13b):
    expected = json.loads((folder / "expected.json").read_text())
    joined = join(llava.questions, answers_13b, pope.KEYS)
    answers = scored(llava, joined.responses)
    found = figures(pope.blocks(answers))
    splits = expected["llava-v1.5-13b"]
    for split in SPLITS:
        want, said = splits[split], [a for a in answers if a.kind == split]
        assert Counter((a.score.facts["gold"], a.score.extracted) for a in said) == {
            ("yes", "yes"): want["TP"], ("no", "yes"): want["FP"],
            ("no", "no"): want["TN"], ("yes", "no"): want["FN"],
        }  # fmt: skip
        assert found[split, "accuracy"].n == want["n"]
        for ours, theirs in (
            ("accuracy", "acc"), ("precision", "precision"), ("recall", "recall"), ("f1", "f1"),
            ("yes_rate", "yes_ratio"),
        ):  # fmt: skip
            assert found[split, ours].value == pytest.approx(want[theirs], abs=1e-12)
    assert found["all", "mean_f1"].value == pytest.approx(splits["mean_f1_of_3"], abs=1e-12)
    pooled = splits["lmms_eval_pooled_f1_all_8910"]
    assert found["all", "f1"].value == pytest.approx(pooled, abs=1e-12)
    assert found["all", "f1"].n == len(answers_13b)


def test_shuffled_answers_give_identical_figures(llava, answers_13b):
    shuffled = random.Random(0).sample(answers_13b, len(answers_13b))
    assert shuffled != answers_13b
    one, other = (
        figures(pope.blocks(scored(llava, join(llava.questions, each, pope.KEYS).responses)))
        for each in (answers_13b, shuffled)
    )
    assert one == other


def test_the_other_set_of_questions_is_refused(folder, answers_13b):
    """`random` has 2,910 or 3,000 questions; by position F1 would be 0.457."""
    head = labels(folder, "questions_rucaibox_head")
    with pytest.raises(BenchmarkError, match=r"another release \(`random` has 2,910 .* 3,000\)"):
        pope.load([*head, source(folder / "llava_pope_test.jsonl.gz")])
    benchmark = pope.load(head)
    with pytest.raises(BenchmarkError, match="does not say which question it answers"):
        join(benchmark.questions, answers_13b, pope.KEYS)
    named = {q["question_id"]: q for q in source(folder / "llava_pope_test.jsonl.gz").content}
    records = [{**a, **named[a["question_id"]], "response": a["text"]} for a in answers_13b]
    with pytest.raises(BenchmarkError, match=r"questions have no answer.*--partial"):
        join(benchmark.questions, [{**r, "question_id": None} for r in records], pope.KEYS)


def test_a_partial_file_says_what_is_missing(folder, llava):
    records = source(folder / "answers_llava-v1.5-7b_partial5712.jsonl.gz").content
    missing = len(llava.questions) - len(records)
    with pytest.raises(BenchmarkError, match=f"{missing} of {len(llava.questions)} questions"):
        join(llava.questions, records, pope.KEYS)
    joined = join(llava.questions, records, pope.KEYS, partial=True)
    assert len(joined.missing) == missing and not joined.unknown
    found = figures(pope.blocks(scored(llava, joined.responses)))
    assert found["all", "accuracy"].n == len(records)
    assert 0.8 < found["all", "accuracy"].value < 0.95


def test_answers_that_name_split_and_image_need_no_ids(folder, answers_13b):
    """lmms-eval's data names the image `image_source` and the split `category`."""
    named = {q["question_id"]: q for q in source(folder / "llava_pope_test.jsonl.gz").content}
    records = [
        {
            "image_source": q["image"].removesuffix(".jpg"), "category": q["category"],
            "question": q["text"].split("\n")[0], "prediction": a["text"],
        }
        for a in answers_13b for q in [named[a["question_id"]]]
    ]  # fmt: skip
    benchmark = pope.load(labels(folder))
    joined = join(benchmark.questions, records, pope.KEYS)
    by_id = pope.load([*labels(folder), source(folder / "llava_pope_test.jsonl.gz")])
    assert joined.responses == join(by_id.questions, answers_13b, pope.KEYS).responses


def test_a_file_in_the_order_of_the_questions(folder, llava, answers_13b):
    """RUCAIBox answers hold text and answer only, so their order must be asked for by name."""
    benchmark = pope.load(labels(folder)[:1])
    wanted = join(llava.questions, answers_13b, pope.KEYS).responses
    records = [{"question": q.text, "answer": wanted[q.question_id]} for q in benchmark.questions]
    with pytest.raises(BenchmarkError, match="does not say which question"):
        join(benchmark.questions, records, pope.KEYS)
    joined = join_in_order(benchmark.questions, records)
    assert joined.responses == {q.question_id: wanted[q.question_id] for q in benchmark.questions}
    with pytest.raises(BenchmarkError, match="not in the order"):
        join_in_order(benchmark.questions, records[::-1])
    with pytest.raises(BenchmarkError, match="not in the order"):
        join_in_order(benchmark.questions, records[1:])


@pytest.mark.parametrize(
    ("response", "yes"),
    [
        ("Yes", True), ("no", False), ("No, there is not", False), ("", True), ("NO", True),
        ("There is not. Yes", False), ("Yes. No", True), ("I don't know", True), ("no!", True),
        ("yes, the animal is typically not seen", False), ("No\n", True), ("None", True),
    ],
)  # fmt: skip
def test_the_official_reading(response, yes):
    """Words are split at single spaces, so "NO", "no!" and "No\\n" are no "no" there."""
    assert pope.said_yes(response) is yes


# Synthetic: two images, one split, two questions each.
SYNTHETIC = [
    {"question_id": i, "image": f"COCO_val2014_00000000000{i // 2}.jpg", "label": label,
     "text": f"Is there a {thing} in the image?"}
    for i, (thing, label) in enumerate(
        [("cat", "yes"), ("dog", "no"), ("car", "yes"), ("bus", "no")]
    )
]  # fmt: skip


def test_questions_from_records_with_the_picture_in_them():
    """As lmms-eval's Parquet has them."""
    rows = [
        {"id": str(i), "question_id": str(i), "question": r["text"], "answer": r["label"],
         "image_source": r["image"].removesuffix(".jpg"), "category": "popular",
         "image": {"bytes": b"picture", "path": None}}
        for i, r in enumerate(SYNTHETIC)
    ]  # fmt: skip
    (one, *_), (other, *_) = (
        pope.load([SourceFile("coco_pope_popular.json", SYNTHETIC)]).questions,
        pope.load([SourceFile("test.parquet", rows)]).questions,
    )
    assert one.question_id == other.question_id and one.join == other.join
    assert one.image == SYNTHETIC[0]["image"] and other.image == b"picture"
    assert one.prompt == "Is there a cat in the image?" + pope.SUFFIX


def test_vlmevalkits_table_and_its_results():
    """Pictures in base64, and ids that go through all splits; results repeat no picture."""
    cell = base64.b64encode(bytes(range(120))).decode()
    rows = [
        {"index": str(10 * k + i), "category": split, "question": r["text"],
         "answer": r["label"].title(), "image": cell if i == 0 else str(10 * k)}
        for k, split in enumerate(pope.SPLITS) for i, r in enumerate(SYNTHETIC[:2])
    ]  # fmt: skip
    benchmark = pope.load([SourceFile("POPE.tsv", rows)])
    assert len(benchmark.questions) == 6
    assert {q.image for q in benchmark.questions} == {bytes(range(120))}
    assert len({q.unit for q in benchmark.questions}) == 1
    results = [{name: row[name] for name in ("index", "question", "answer", "category")}
               | {"prediction": row["answer"]} for row in rows]  # fmt: skip
    joined = join(benchmark.questions, results[::-1], pope.KEYS)
    found = figures(pope.blocks(scored(benchmark, joined.responses)))
    assert found["all", "accuracy"].value == 1 and found["popular", "accuracy"].n == 2
    moved = [result | {"index": str((int(result["index"]) + 10) % 30)} for result in results]
    with pytest.raises(BenchmarkError, match="its split is"):
        join(benchmark.questions, moved, pope.KEYS)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([SourceFile("llava_pope_test.jsonl", [{"text": "?"}])], "needs coco_pope_<split>.json"),
        ([SourceFile("labels.json", SYNTHETIC)], r"labels.json does not say its split \(random"),
        ([SourceFile("coco_pope_random.json", [{**SYNTHETIC[0], "label": "maybe"}])], "no POPE"),
        ([SourceFile("coco_pope_random.json", SYNTHETIC * 2)], "stands twice"),
    ],
)
def test_bad_files_are_refused_by_name(files, message):
    with pytest.raises(BenchmarkError, match=message):
        pope.load(files)


def test_an_empty_answer_counts_as_yes_and_is_in_the_figures():
    benchmark = pope.load([SourceFile("coco_pope_random.json", SYNTHETIC)])
    empty = {q.question_id: "" for q in benchmark.questions}
    found = figures(pope.blocks(scored(benchmark, empty)))
    assert found["random", "yes_rate"].value == 1
    assert found["random", "recall"].value == 1 and found["random", "precision"].value == 1 / 2
    assert found["random", "f1"].value == pytest.approx(2 / 3)
