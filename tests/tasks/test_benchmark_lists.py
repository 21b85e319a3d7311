"""A recipe with several benchmarks: base and trained model in one table."""

import json
import shutil
from dataclasses import replace

import pytest
from PIL import Image
from pydantic import ValidationError

from storage.catalog import query
from storage.store import ArtifactStore
from tasks.pipeline import Choice
from tasks.plan import plan
from tasks.registry import STAGES
from tasks.stage import Job
from tests.pipelines import rows, run, runtime, small_recipe


@pytest.fixture(scope="module")
def pope(tmp_path_factory):
    """One split of synthetic questions about four pictures."""
    folder = tmp_path_factory.mktemp("pope")
    lines = []
    for i in range(4):
        Image.new("RGB", (56, 56), (60 * i, 80, 120)).save(folder / f"{i}.png")
        lines.append({"question_id": i, "image": f"{i}.png", "text": f"Is there a {i}?",
                      "label": "yes" if i % 2 else "no"})  # fmt: skip
    (folder / "coco_pope_random.json").write_text("\n".join(map(json.dumps, lines)))
    return folder


def several(pope, **changes):
    benchmarks = [
        {"kind": "embedded", "split": "counter", "scenes": 2},
        {"kind": "held_out", "closed": 2, "open": 2},
        {"kind": "pope", "questions": [str(pope)]},
    ]
    return small_recipe(evaluate__benchmarks=benchmarks, evaluate__limit=None, **changes)


@pytest.fixture(scope="module")
def measured(finished, pope, tmp_path_factory):
    root, _, _ = finished
    copy = tmp_path_factory.mktemp("several") / "store"
    shutil.copytree(root, copy)
    run(several(pope), runtime(copy), Choice(start="train"))
    return copy


def test_both_models_answer_every_question_of_every_benchmark(measured):
    metrics = rows(measured, "evaluate", "metrics")
    names = {"embedded/counter", "held_out", "pope"}
    assert {(row["model"], row["benchmark"]) for row in metrics} == {
        (model, name) for model in ("base", "trained") for name in names
    }
    asked = rows(measured, "ask", "questions")
    assert {row["benchmark"] for row in asked} == names
    assert len(rows(measured, "evaluate", "predictions")) == 2 * len(asked)
    counts = query(measured, "select benchmark, count(*) from questions group by all").fetchall()
    assert dict(counts)["pope"] == 4 and dict(counts)["embedded/counter"] == 14


def test_the_gain_of_gold_answers_is_measured_on_our_own_benchmarks_alone(measured):
    by_benchmark = {}
    for row in rows(measured, "answer", "answers"):
        by_benchmark.setdefault(row["benchmark"], set()).add(row["iig_mean"] is not None)
    assert by_benchmark == {"embedded/counter": {True}, "held_out": {True}, "pope": {False}}


def test_another_rule_for_scores_leaves_the_answers_alone(measured, pope):
    """More draws of the bootstrap: only `evaluate` is made again, and the page that shows it."""
    steps = {s.stage: s.state for s in plan(several(pope, evaluate__bootstrap=500),
                                            runtime(measured))}  # fmt: skip
    assert [name for name, state in steps.items() if state != "hit"] == ["evaluate", "report"]


def test_other_pictures_are_other_questions(measured, pope, tmp_path):
    other = tmp_path / "pope"
    shutil.copytree(pope, other)
    Image.new("RGB", (56, 56)).save(other / "0.png")
    steps = {s.stage: s for s in plan(several(other), runtime(measured))}
    assert steps["ask"].state == "miss" and steps["ask"].rows == 14 + 4 + 4
    assert any("pope" in why for why in steps["ask"].why)
    (other / "coco_pope_random.json").write_text("{}")
    steps = {s.stage: s for s in plan(several(other), runtime(measured))}
    assert steps["ask"].state == "miss" and "coco_pope_<split>.json" in steps["ask"].why[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluate__benchmarks": [{"kind": "held_out"}] * 2}, "names held_out more than once"),
        ({"answer__models": []}, "nothing answers the questions"),
        ({"answer__policy_name": "trained"}, "cannot be `trained`"),
        ({"evaluate__benchmarks": [{"kind": "mmhal", "questions": ["x"]}]}, "needs a judge"),
        (
            {"evaluate__benchmarks": [{"kind": "mmhal", "questions": ["x"]},
                                      {"kind": "mm_vet", "questions": ["x"]}],
             "evaluate__judge": {"kind": "stored", "path": "y"}},
            "one file of stored reviews cannot serve mmhal, mm_vet",
        ),
        ({"train__benchmarks": [{"kind": "mmhal", "questions": ["x"]}]}, "no judge is asked"),
        (  # else base and trained would be graded by the same reviews of somebody else's answers
            {"evaluate__benchmarks": [{"kind": "mmhal", "questions": ["x"]}],
             "evaluate__judge": {"kind": "stored", "path": "y"}},
            "stored reviews are about the answers of one file",
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        small_recipe(**changes)


def test_the_base_model_answers_once_whatever_was_trained(measured, pope):
    """Another learning rate: the trained model's shards are computed, the base's are taken over."""
    store = ArtifactStore(measured)
    before = store.table(store.resolve("answer"), "answers").to_pylist()
    run(several(pope, train__learning_rate=1e-3), runtime(measured), Choice(start="train"))
    ref = store.resolve("answer")
    after = store.table(ref, "answers").to_pylist()
    base = [row for row in after if row["model"] == "base"]
    assert base == [row for row in before if row["model"] == "base"]
    assert [row["response"] for row in after] != [row["response"] for row in before]
    shards = store.manifest(ref).shards
    taken = sum(shard.get("taken_from_the_store", 0) for shard in shards)
    assert taken == len(base) == len(after) / 2
    assert sum(shard["model_seconds"] > 0.01 for shard in shards) == len(shards) / 2
    # Asked for anew, nothing is taken over: the same answers are computed again.
    job = Job(several(pope, train__learning_rate=1e-3), store, ref.key,
              store.manifest(ref).inputs, runtime(measured))  # fmt: skip
    taken_over = STAGES["answer"].run(job, 0)
    computed = STAGES["answer"].run(replace(job, fresh=True), 0)
    assert "taken_from_the_store" in taken_over.facts
    assert "taken_from_the_store" not in computed.facts
    assert taken_over.tables["answers"] == [
        {name: row.get(name) for name in after[0]} for row in computed.tables["answers"]
    ]
