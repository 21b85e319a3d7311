"""A stage on a device that is too small for its packs gives the rows of one that is not."""

import uuid

import pytest
import torch

from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.training import TrainingConfig
from storage.store import ArtifactStore
from tasks import packs, train_process
from tasks.inline import inline
from tasks.pipeline import Choice
from tests.pipelines import rows, run, runtime, small_recipe

STAGES = Choice(only=("ingest", "score"))
FITS = 400
"""Padded tokens of one pass."""


@pytest.fixture
def scored(tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "_ceilings", {})

    def score(fits):
        real, tried = QwenVL.token_logps, []

        def limited(self, prompts, responses, images, **options):
            size = len(prompts) * max(map(len, prompts))
            tried.append(size)
            if size > fits:
                raise torch.OutOfMemoryError(f"{size} tokens")
            return real(self, prompts, responses, images, **options)

        monkeypatch.setattr(QwenVL, "token_logps", limited)
        root = tmp_path / uuid.uuid4().hex
        how = runtime(root, max_failures=1)
        made = run(small_recipe(), how, STAGES, run_shards=inline())
        monkeypatch.setattr(QwenVL, "token_logps", real)
        return rows(root, "score", "scores"), ArtifactStore(root).manifest(made["score"].ref), tried

    return score


def test_rows_agree_and_what_did_not_fit_is_tried_once(scored):
    undisturbed, manifest, _ = scored(10**9)
    assert all(s["packs_split"] == 0 and s["memory_ceiling"] is None for s in manifest.shards)
    found, manifest, tried = scored(FITS)
    assert [row["sample_id"] for row in found] == [row["sample_id"] for row in undisturbed]
    for row, other in zip(found, undisturbed, strict=True):
        assert row["reason"] is None
        assert row["token_logps"] == pytest.approx(other["token_logps"], abs=2e-5)
        assert row["iig_mean"] == pytest.approx(other["iig_mean"], abs=2e-5)
    assert sum(shard["packs_split"] > 0 for shard in manifest.shards) > 1
    ceilings = [shard["memory_ceiling"] for shard in manifest.shards]
    assert ceilings == sorted(ceilings, reverse=True) and ceilings[-1] > FITS
    failed = [size for size in tried if size > FITS]
    assert len(failed) <= 4, "a later shard tried again what had not fitted"


def test_a_row_that_fits_nowhere_is_refused_and_the_shard_goes_on(scored):
    found, manifest, _ = scored(0)
    assert {row["reason"] for row in found} == {"out_of_memory"}
    assert manifest.reasons == {"scores": {"out_of_memory": len(found)}}


def test_training_that_does_not_fit_says_what_can_be_done():
    with (
        pytest.raises(RuntimeError, match=r"(?s)micro_batch_groups=4 .*newest checkpoint.*7 GiB"),
        train_process._memory_said(TrainingConfig()),
    ):
        raise torch.OutOfMemoryError("tried to allocate 7 GiB")
