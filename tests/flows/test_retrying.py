"""`mbpo retry`, as a user types it after a run in which the model gave no numbers for some rows."""

import json

import pytest
import torch

from mbpo_core.models.qwen_vl import QwenVL
from storage.store import ArtifactStore
from tasks.inline import inline
from tasks.pipeline import Choice
from tests.flows.test_cli import mbpo
from tests.pipelines import run, runtime, small_recipe

STAGES = ("ingest", "score", "select")


@pytest.fixture
def failed(tmp_path, monkeypatch):
    """A run in which responses of odd length got no score; workers are processes without fault."""
    real = QwenVL.token_logps

    def token_logps(self, prompts, responses, images, **options):
        found = real(self, prompts, responses, images, **options)
        return [torch.full_like(each, torch.nan) if len(each) % 2 else each for each in found]

    monkeypatch.setattr(QwenVL, "token_logps", token_logps)
    how = runtime(tmp_path / "store", max_failures=1)
    made = run(small_recipe(), how, Choice(only=STAGES), run_shards=inline())
    return how.root, ArtifactStore(how.root).manifest(made["score"].ref)


def test_a_status_that_no_row_has_names_those_that_there_are(failed):
    root, _ = failed
    done = mbpo("retry", "--status", "oom", "--root", root)
    assert done.exit_code == 2
    assert "has the status oom; there are:" in done.output and "nonfinite_logp" in done.output
    for words, said in [
        (("--status", ","), "--status is empty"),
        (("nobody", "--status", "oom"), "no run 'nobody'"),
        (("--status", "oom", "--root", root / "else"), "no run in"),
    ]:
        done = mbpo("retry", "--root", root, *words)
        assert done.exit_code == 2 and said in done.output, done.output


def test_rows_that_failed_are_made_and_what_follows_too(failed):
    root, before = failed
    count = before.reasons["scores"]["nonfinite_logp"]
    assert count > 0
    done = mbpo("retry", "--status", "oom,nonfinite", "--root", root, "--workers", 1, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert list(told["stages"]) == list(STAGES)
    assert told["stages"]["ingest"]["hit"] and not told["stages"]["select"]["hit"]
    gone = [row for row in told["reasons"] if row["reason"] == "nonfinite_logp"]
    assert [row["before"] for row in gone if row["table"] == "scores"] == [count]
    assert {row["after"] for row in gone} == {0}
    store = ArtifactStore(root)
    assert store.manifest(store.resolve("score")).reasons.get("scores", {}) == {}
    assert mbpo("retry", "--status", "nonfinite", "--root", root).exit_code == 2
