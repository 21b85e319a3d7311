"""The life of a sample, in a small store that is written by hand with the stages' own tables."""

import math

import pytest

from mbpo_core.objectives.grpo import HybridGRPO
from mbpo_core.objectives.protocol import ScoredGroup
from storage.errors import AmbiguousArtifact, UnknownArtifact
from storage.identity import Identity
from storage.runs import finish_run, record_stage, start_run
from storage.store import ArtifactStore
from storage.tables import rows_to_table, schema_text
from tasks.registry import STAGES
from tasks.trace import trace

IDS = ("aa11", "aa22", "bb33")
OBJECTIVE = {"kind": "hybrid_grpo", "chosen_reward": 3.0, "advantages": "pair", "generations": 2}


def commit(store, stage, config=None, **rows):
    """Commit the tables of a stage; those that are not given are empty."""
    specs = STAGES[stage].tables
    made = Identity(stage, 1, schema_text(specs), config or {})
    tables = {spec.name: rows_to_table(rows.get(spec.name, []), spec) for spec in specs}
    store.write_shard(stage, made.key, 0, tables)
    return store.commit(stage, made.key, [0], tables=specs, identity=made)


def sample(number, **changes):
    name = IDS[number]
    row = {"sample_id": name, "source_id": f"record-{number}", "source_index": number, "turn": 0,
           "image_id": f"image-{number}", "height": 4, "width": 5, "question": "What is it?",
           "image": {"bytes": b"png", "path": "x.png"}, "response": "A plum."}  # fmt: skip
    return row | changes


def group(name, number, stream="offline", roles=("chosen", "rejected", "rejected_image")):
    candidates = [{"role": role, "text": role, "image_id": "i"} for role in roles]
    return {"group_id": name, "stream": stream, "sample_id": IDS[number], "candidates": candidates}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("trace")
    store = ArtifactStore(root)
    lost = sample(1, reason="unreadable", detail="no image", image=None, image_id=None)
    start_run(root, "run1", "mbpo", {"ingest": {"source": {"kind": "files", "path": "d.json"}}})
    stages = {
        "ingest": commit(store, "ingest", samples=[sample(0), lost, sample(2)]),
        "respond": commit(store, "respond", responses=[
            {"sample_id": IDS[0], "source": "negative", "text": "A fig.",
             "clean_token_logps": [-1.0, -2.0], "negative_token_logps": [-0.5, -0.25]}]),
        "pair": commit(store, "pair", groups=[group("g0", 0), group("g2", 2, "online", ())]),
        "train": commit(store, "train", {"train": {"objective": OBJECTIVE}},
            train_groups=[
                {"group_id": "g0", "stream": "offline", "uses": 2, "steps": [1, 3]},
                {"group_id": "g2", "stream": "online", "uses": 1, "steps": [2]}],
            train_steps=[{"step": step, "loss": step / 10} for step in (1, 2, 3)],
            train_rollouts=[
                {"step": 2, "group_id": "g2", "sample_id": IDS[2], "rollout": n, "reward": float(n),
                 "advantage": n - 0.5} for n in (0, 1)],
            train_probes=[{"step": 0, "group_id": "g0", "role": "chosen", "logp_image": -1.0}]),
        "ask": commit(store, "ask", questions=[
            {"asked_id": "held_out/aa11", "benchmark": "held_out", "question_id": IDS[0],
             "image_id": "image-0"},
            {"asked_id": "pope/7", "benchmark": "pope", "question_id": "7", "image_id": "image-2"},
            {"asked_id": "pope/8", "benchmark": "pope", "question_id": "8", "image_id": "other"}]),
        "evaluate": commit(store, "evaluate", predictions=[
            {"prediction_id": "trained:pope/7", "model": "trained", "benchmark": "pope",
             "question_id": "7", "response": "Yes.", "correct": True},
            {"prediction_id": "trained:mme/7", "model": "trained", "benchmark": "mme",
             "question_id": "7", "response": "No.", "correct": False}]),
    }  # fmt: skip
    for stage, ref in stages.items():
        record_stage(root, "run1", stage, ref)
    finish_run(root, "run1", "completed")
    return store


def test_from_the_file_to_the_steps_that_used_it(store):
    found = trace(store, "aa11")
    assert found["source"]["from"]["path"] == "d.json" and found["source"]["source_index"] == 0
    assert found["source"]["image"]["bytes"] == 3
    assert found["score"] is None and found["selection"] is None and found["negative"] is None
    (response,) = found["responses"]
    assert (response["clean_logp"], response["negative_logp"]) == (-3.0, -0.75)
    assert response["blank_logp"] is None
    (trained,) = found["training"]
    assert [(step["step"], step["loss"]) for step in trained["steps"]] == [(1, 0.1), (3, 0.3)]
    assert [probe["role"] for probe in trained["probes"]] == ["chosen"]
    assert trained["rollouts"] == []


def test_fixed_rewards_have_the_advantages_that_the_objective_gives_them(store):
    (trained,) = trace(store, "aa11")["training"]
    expected = HybridGRPO(chosen_reward=3.0).group_advantages(
        ScoredGroup("g0", "offline", ("chosen", "rejected"))
    )
    assert [(each["role"], each["reward"]) for each in trained["fixed"]] == [
        ("chosen", 3.0), ("rejected", 0.0),
    ]  # fmt: skip
    assert [each["advantage"] for each in trained["fixed"]] == expected.tolist()
    assert math.isclose(trained["fixed"][0]["advantage"], 1 / math.sqrt(2), rel_tol=1e-3)


def test_rollouts_come_with_their_rewards_and_advantages(store):
    (trained,) = trace(store, "bb")["training"]
    assert trained["fixed"] is None
    drawn = [(each["reward"], each["advantage"]) for each in trained["rollouts"]]
    assert drawn == [(0.0, -0.5), (1.0, 0.5)]


def test_questions_are_found_by_the_sample_and_by_its_image(store):
    (own,) = trace(store, "aa11")["questions"]
    assert own["asked_id"] == "held_out/aa11" and own["predictions"] == []
    (pope,) = trace(store, "bb33")["questions"]
    assert pope["asked_id"] == "pope/7"
    assert [each["response"] for each in pope["predictions"]] == ["Yes."], "not that of mme"


def test_what_was_refused_says_why_and_went_nowhere(store):
    found = trace(store, "aa22")
    assert (found["source"]["reason"], found["source"]["detail"]) == ("unreadable", "no image")
    assert found["groups"] == [] and found["training"] == [] and found["questions"] == []


def test_ids_may_be_cut_where_only_one_begins_so(store):
    assert trace(store, "b")["sample_id"] == "bb33"
    assert trace(store, "record-2")["sample_id"] == "bb33"
    with pytest.raises(AmbiguousArtifact, match="any of 2 samples"):
        trace(store, "aa")
    with pytest.raises(UnknownArtifact, match=r"(?s)no sample 'bb34'.*nearest are:\n  bb33"):
        trace(store, "bb34")
    with pytest.raises(UnknownArtifact, match=r"nearest are:\n  bb33  record-2"):
        trace(store, "recrod-2")


def test_runs_are_named_by_id_or_its_beginning(store, tmp_path):
    start_run(store.root, "other", "mbpo")
    assert trace(store, "bb33")["run_id"] == "run1"
    start_run(store.root, "alone", "mbpo")
    record_stage(store.root, "alone", "ingest", store.resolve("ingest"))
    assert trace(store, "bb33")["run_id"] == "run1", "it got further than a newer one"
    assert trace(store, "bb33", "alone")["training"] is None
    assert trace(store, "bb33", "run")["run_id"] == "run1"
    other = commit(store, "ingest", {"other": 1}, samples=[sample(0, sample_id="cc44")])
    record_stage(store.root, "alone", "ingest", other)
    assert trace(store, "cc")["run_id"] == "alone", "the only one that read it"
    for run in ("other", "nobody"):
        with pytest.raises(UnknownArtifact, match="the latest are: alone, run1"):
            trace(store, "bb33", run)
    with pytest.raises(UnknownArtifact, match="mbpo run mbpo"):
        trace(ArtifactStore(tmp_path / "empty"), "bb33")
