"""Rows that failed are tried again with their shards; everything else stays byte for byte."""

import shutil

import pytest
import torch

from mbpo_core.models.qwen_vl import QwenVL
from storage.runs import read_runs
from storage.store import ArtifactStore
from tasks import evaluate
from tasks.failures import TooManyFailuresError
from tasks.inline import inline
from tasks.pipeline import Choice
from tasks.retry import matches, reasons_of
from tasks.retry_run import look_back
from tests.pipelines import rows, run, runtime, small_recipe

STAGES = ("ingest", "score", "select")
AGAIN = Choice(only=STAGES, retry=("nonfinite",))


def faulty(monkeypatch, is_bad, error=None):
    """Let the model give no number, or raise, for responses of which the function says so."""
    real = QwenVL.token_logps

    def token_logps(self, prompts, responses, images, **options):
        if error is not None and any(map(is_bad, responses)):
            raise error
        found = list(real(self, prompts, responses, images, **options))
        return [torch.full_like(each, torch.nan) if is_bad(response) else each
                for each, response in zip(found, responses, strict=True)]  # fmt: skip

    monkeypatch.setattr(QwenVL, "token_logps", token_logps)
    return lambda: monkeypatch.setattr(QwenVL, "token_logps", real)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("retry") / "undisturbed"
    return root, run(small_recipe(), runtime(root), Choice(only=STAGES), run_shards=inline())


def of_one_shard(undisturbed, number=1):
    """Return what recognises the longest response of a shard of `score`, and nothing elsewhere."""
    root, made = undisturbed
    store = ArtifactStore(root)
    samples = {row["sample_id"]: row["response"] for row in rows(root, "ingest", "samples")}
    part = store.parts(made["score"].ref, "scores")[number].read().to_pylist()
    lengths = {len(row["token_logps"]) for row in rows(root, "score", "scores")
               if row["token_logps"] and row not in part}  # fmt: skip
    own = {len(row["token_logps"]) for row in part if row["token_logps"]} - lengths
    assert own, "no length of a response is this shard's alone"
    assert samples
    return lambda response: len(response) in own


def test_only_the_shards_with_such_rows_are_computed_and_the_bytes_are_those_of_no_fault(
    undisturbed, tmp_path, monkeypatch
):
    mend = faulty(monkeypatch, of_one_shard(undisturbed))
    how = runtime(tmp_path / "store", max_failures=1)
    first = run(small_recipe(), how, Choice(only=STAGES), run_shards=inline())
    store = ArtifactStore(how.root)
    assert store.manifest(first["score"].ref).reasons["scores"]["nonfinite_logp"] >= 1

    same = run(small_recipe(), how, AGAIN, run_shards=inline())
    assert same["score"].computed == (1,) and same["score"].ref == first["score"].ref
    assert same["ingest"].hit and same["select"].hit

    mend()
    assert run(small_recipe(), how, Choice(only=STAGES), run_shards=inline())["score"].hit
    other = run(small_recipe(), how, Choice(only=STAGES, retry=("oom",)), run_shards=inline())
    assert other["score"].hit, "another status is none of it"
    second = run(small_recipe(), how, AGAIN, run_shards=inline())
    assert second["score"].computed == (1,) and not second["select"].hit
    assert second["score"].ref == undisturbed[1]["score"].ref
    assert second["select"].ref == undisturbed[1]["select"].ref
    assert store.is_there(first["score"].ref), "the version that there was stays"
    assert run(small_recipe(), how, Choice(only=STAGES), run_shards=inline())["score"].hit


def test_a_retry_that_is_killed_goes_on_where_it_was(undisturbed, tmp_path, monkeypatch):
    mend = faulty(monkeypatch, lambda response: True)
    how = runtime(tmp_path / "store", max_failures=1)
    run(small_recipe(), how, Choice(only=STAGES), run_shards=inline())
    mend()

    def killed(request, shards, done, note):
        inline()(request, shards[:2], done, note)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small_recipe(), how, AGAIN, run_shards=killed)
    last = run(small_recipe(), how, AGAIN, run_shards=inline())
    shards = len(ArtifactStore(how.root).manifest(last["score"].ref).shards)
    assert last["score"].computed == tuple(range(2, shards))
    assert last["score"].ref == undisturbed[1]["score"].ref


def test_a_shard_that_failed_otherwise_in_a_retry_that_was_killed_is_tried_again_too(
    undisturbed, tmp_path, monkeypatch
):
    is_bad = of_one_shard(undisturbed)
    mend = faulty(monkeypatch, is_bad)
    how = runtime(tmp_path / "store", max_failures=1)
    run(small_recipe(), how, Choice(only=STAGES), run_shards=inline())
    mend()
    mend = faulty(monkeypatch, is_bad, ValueError("no number at all"))

    def killed(request, shards, done, note):
        inline()(request, shards, done, note)
        raise KeyboardInterrupt

    again = Choice(only=STAGES, retry=("nonfinite", "error"))
    with pytest.raises(KeyboardInterrupt):
        run(small_recipe(), how, again, run_shards=killed)
    mend()
    last = run(small_recipe(), how, again, run_shards=inline())["score"]
    assert last.computed == (1,) and last.ref == undisturbed[1]["score"].ref


def test_of_a_stage_that_was_not_committed_the_staged_shards_with_such_rows_go(
    undisturbed, tmp_path, monkeypatch
):
    mend = faulty(monkeypatch, of_one_shard(undisturbed))
    monkeypatch.setattr("tasks.failures.AT_LEAST", 0)
    how = runtime(tmp_path / "store", max_failures=0)
    with pytest.raises(TooManyFailuresError):
        run(small_recipe(), how, Choice(only=STAGES), run_shards=inline())
    mend()
    last_run = read_runs(how.root)[-1]
    before = look_back(how, last_run, ["nonfinite"])
    assert set(before.counts) == {"ingest", "score"} and before.choice.only == ()
    assert before.counts["score"]["scores"]["nonfinite_logp"] >= 1
    last = run(before.recipe, how, AGAIN, run_shards=inline())
    assert last["score"].computed == (1,)
    assert last["score"].ref == undisturbed[1]["score"].ref


@pytest.mark.parametrize("stage", ["pair", "train"])
def test_a_stage_that_cannot_be_taken_apart_comes_out_as_it_was(finished, stage):
    """`train` has files beside its tables, `pair` one shard."""
    root, recipe, made = finished
    store = ArtifactStore(root)
    before = store.manifest(made[stage].ref)
    passed_on = set(reasons_of(store.manifest(ref).reasons for ref in before.inputs.values()))
    own = set(reasons_of([before.reasons])) - passed_on
    assert own, f"{before.reasons} of {stage} has no reason of its own"
    again = run(recipe, runtime(root), Choice(only=(stage,), retry=tuple(own)))[stage]
    assert again.ref == made[stage].ref and not again.hit


def test_a_last_shard_that_sums_up_the_others_is_made_again(finished, monkeypatch):
    root, recipe, made = finished
    real, victim = evaluate._score, rows(root, "evaluate", "predictions")[-1]["prediction_id"]

    def broken(benchmark, question, answer, verdict):
        if f"{answer['model']}:{answer['asked_id']}" == victim:
            return evaluate.Score(reason="error:KeyError")
        return real(benchmark, question, answer, verdict)

    monkeypatch.setattr(evaluate, "_score", broken)
    spoilt = Choice(only=("evaluate",), refresh=("evaluate",))
    first = run(recipe, runtime(root), spoilt, run_shards=inline())["evaluate"].ref
    manifest = ArtifactStore(root).manifest(first)
    assert manifest.reasons == {"predictions": {"error:KeyError": 1}}
    assert first != made["evaluate"].ref

    monkeypatch.setattr(evaluate, "_score", real)
    again = Choice(only=("evaluate",), retry=("error",))
    second = run(recipe, runtime(root), again, run_shards=inline())["evaluate"]
    shards = len(manifest.shards)
    assert shards > 2 and second.computed == (shards - 2, shards - 1)
    assert second.ref == made["evaluate"].ref


def test_bytes_that_changed_are_not_taken_over(undisturbed, tmp_path, monkeypatch):
    mend = faulty(monkeypatch, of_one_shard(undisturbed))
    how = runtime(tmp_path / "store", max_failures=1)
    first = run(small_recipe(), how, Choice(only=STAGES), run_shards=inline())
    mend()
    part = ArtifactStore(how.root).parts(first["score"].ref, "scores")[0].path
    damaged = bytearray(part.read_bytes())
    damaged[20] ^= 1
    shutil.copyfile(part, tmp_path / "kept")
    part.write_bytes(damaged)
    with pytest.raises(Exception, match=r"scores-00000\.parquet is damaged"):
        run(small_recipe(), how, AGAIN, run_shards=inline())
    shutil.copyfile(tmp_path / "kept", part)
    again = run(small_recipe(), how, AGAIN, run_shards=inline())
    assert again["score"].ref == undisturbed[1]["score"].ref


@pytest.mark.parametrize(
    ("reason", "statuses", "meant"),
    [
        ("out_of_memory", ("oom",), True),
        ("truncated", ("oom", "bad_image"), True),
        ("error:ValueError", ("error",), True),
        ("unjudged:timeout", ("unjudged",), True),
        ("unjudged:timeout", ("unjudged:refused",), False),
        ("too_long", ("oom", "bad_image"), False),
        ("error_of_mine", ("error",), False),
    ],
)
def test_a_status_is_a_reason_its_beginning_or_a_word_for_several(reason, statuses, meant):
    assert matches(reason, statuses) is meant
