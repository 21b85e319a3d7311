"""Two ranks do what one does: counts, rollouts, gradients and logs are those of the whole step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mbpo_core.models.loading import load_policy
from tests.mbpo_core.training.conftest import same_figure, weights
from tests.mbpo_core.training.two_ranks import main

REPOSITORY = Path(__file__).parents[3]


def on_two_ranks(folder, *arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = Path(__file__).with_name("two_ranks.py")
    done = subprocess.run(
        [*command, str(script), str(folder), *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def rows(folder, table):
    lines = (folder / "log" / f"{table}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stream_norm_every", "case"), [(0, "hybrid"), (1, "hybrid"), (0, "plackett_luce")]
)
def test_two_ranks_train_the_same_model_as_one(tmp_path, stream_norm_every, case):
    """Seven groups, four a step: the last step has three groups for four slots, so one dummy."""
    one, two = tmp_path / "one", tmp_path / "two"
    main(one, 4, stream_norm_every, case)
    on_two_ranks(two, 4, stream_norm_every, case)
    for expected, found in zip(rows(one, "steps"), rows(two, "steps"), strict=True):
        for name, value in expected.items():
            chance = expected["step"] == 1 and "accuracy" in name  # all rewards are 0 there
            assert chance or same_figure(found[name], value), name
    key = lambda row: (row["step"], row["group_id"], row["rollout"])  # noqa: E731
    drawn = sorted(rows(one, "rollouts"), key=key), sorted(rows(two, "rollouts"), key=key)
    assert [row["ids"] for row in drawn[0]] == [row["ids"] for row in drawn[1]]
    assert len(rows(one, "probes")) == len(rows(two, "probes"))
    expected, found = (weights(load_policy(str(folder / "model"))) for folder in (one, two))
    for name, value in expected.items():
        # Two steps of AdamW move a weight by up to 2e-3, whatever the size of its gradient.
        assert (value - found[name]).abs().mean() < 1e-4, name
