"""A rank that is killed takes the others with it, and the run goes on from a whole checkpoint."""

import json
import logging

import pytest

from mbpo_core.training.checkpoints import keep_newest, newest_checkpoint, seal, step_of
from tests.mbpo_core.training.conftest import equal_weights
from tests.mbpo_core.training.ranks import drawn, launched, on_two_ranks, rows, trained

LONG = {"offline_epochs": 3, "online_epochs": 3, "probe_every": 3, "save_every": 2}
MID_STEP = {"rank": 1, "method": "training_step", "step": 3}
"""Steps 1 to 3 are done, a checkpoint of step 2 is there."""
MID_SAVE = {"rank": 1, "method": "_save_rng_state", "step": 4}
"""Rank 0 has the model and the optimiser of step 4 on disk, or is about to."""


def checkpoint(folder, step, layout="whole parameters", **contents):
    made = folder / f"checkpoint-{step}"
    (made / "optimizer_0").mkdir(parents=True)
    (made / "optimizer_0" / "__1_0.distcp").write_bytes(b"shard")
    (made / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    seal(made, layout)
    return made


def test_a_checkpoint_counts_when_it_is_sealed_and_all_that_the_seal_names_is_there(
    tmp_path, caplog
):
    assert newest_checkpoint(tmp_path, "FSDP") is None
    whole = checkpoint(tmp_path, 2, "FSDP")
    unsealed, short, lost = (checkpoint(tmp_path, step, "FSDP") for step in (10, 12, 14))
    (unsealed / "whole.json").rename(unsealed / "whole.json.partial")
    (short / "optimizer_0" / "__1_0.distcp").write_bytes(b"sh")
    (lost / "optimizer_0" / "__1_0.distcp").unlink()
    with caplog.at_level(logging.WARNING):
        assert newest_checkpoint(tmp_path, "FSDP") == whole
    assert [folder.name for folder in tmp_path.iterdir()] == ["checkpoint-2"]
    for cut in (unsealed, short, lost):
        assert f"{cut.name} was not written to its end and is removed" in caplog.text


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    for step in (8, 9, 10):
        checkpoint(tmp_path, step)
    keep_newest(tmp_path, 2)
    assert sorted(map(step_of, tmp_path.iterdir())) == [9, 10]
    keep_newest(tmp_path, 2)
    assert step_of(newest_checkpoint(tmp_path, "whole parameters")) == 10


def test_a_checkpoint_in_shards_is_not_read_as_a_whole_one(tmp_path):
    checkpoint(tmp_path, 2, "FSDP")
    with pytest.raises(ValueError, match=r"checkpoint-2 was written with FSDP and cannot be .*"):
        newest_checkpoint(tmp_path, "whole parameters")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize("die", [MID_STEP, MID_SAVE], ids=["in a step", "in a save"])
def test_a_run_whose_rank_was_killed_goes_on_to_the_last_bit(tmp_path, kind, die):
    whole, cut = str(tmp_path / "whole"), str(tmp_path / "cut")
    done = launched(kind, [{"folder": cut, "die": die, **LONG}])
    assert done.returncode != 0
    assert "Signal 9 (SIGKILL)" in done.stderr
    assert step_of(newest_checkpoint(tmp_path / "cut", _layout(kind))) == 2
    assert len(rows(cut, "steps")) >= 3
    on_two_ranks(kind, {"folder": cut, "resume": True, **LONG}, {"folder": whole, **LONG})
    assert rows(cut, "steps") == rows(whole, "steps")
    assert rows(cut, "probes") == rows(whole, "probes")
    assert drawn(cut) == drawn(whole)
    assert equal_weights(trained(cut), trained(whole))


def _layout(kind):
    return {"ddp": "whole parameters", "fsdp": "FSDP"}[kind]
