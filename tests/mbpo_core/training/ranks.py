"""Training on two ranks as a user starts it, and what two runs have in common."""

import json
import os
import subprocess
import sys
from pathlib import Path

from mbpo_core.models.loading import load_policy
from tests.mbpo_core.training.conftest import same_figure, weights

REPOSITORY = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("two_ranks.py")
TOLERANCE = 1e-4
"""Of a loss, between two ranks and one."""


def launched(kind, runs, processes=2):
    """Run trainings after each other on two ranks of one `accelerate launch`."""
    config = REPOSITORY / "deployments" / "accelerate" / f"{kind}.yaml"
    words = ["--config_file", str(config), "--num_processes", str(processes)]
    return subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *words, str(SCRIPT), json.dumps(runs)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def on_two_ranks(kind, *runs):
    done = launched(kind, runs)
    assert done.returncode == 0, done.stderr[-3000:]


def rows(folder, table):
    lines = (Path(folder) / "log" / f"{table}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def trained(folder):
    return weights(load_policy(str(Path(folder) / "model")))


def drawn(folder):
    key = lambda row: (row["step"], row["group_id"], row["rollout"])  # noqa: E731
    return [row["ids"] for row in sorted(rows(folder, "rollouts"), key=key)]


def assert_same_training(one, two):
    """The steps of one rank and of two: counts and draws equal, figures but for rounding."""
    for expected, found in zip(rows(one, "steps"), rows(two, "steps"), strict=True):
        assert abs(found["loss"] - expected["loss"]) < TOLERANCE
        for name, value in expected.items():
            chance = expected["step"] == 1 and "accuracy" in name  # all rewards are 0 there
            assert chance or same_figure(found[name], value), (expected["step"], name)
    assert drawn(one) == drawn(two)
    for expected, found in zip(rows(one, "probes"), rows(two, "probes"), strict=True):
        assert abs(found["iig_sum"] - expected["iig_sum"]) < 1e-3
    expected, found = trained(one), trained(two)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        # AdamW moves a weight by up to 1e-3 a step, whatever the size of its gradient.
        assert (value - found[name]).abs().mean() < 1e-4, name


def deviation(one, two):
    """Greatest difference of a loss, relative difference of a gradient norm, and of a weight."""
    steps = list(zip(rows(one, "steps"), rows(two, "steps"), strict=True))
    expected, found = trained(one), trained(two)
    return {
        "steps": len(steps),
        "loss": max(abs(a["loss"] - b["loss"]) for a, b in steps),
        "grad_norm": max(abs(a["grad_norm"] / b["grad_norm"] - 1) for a, b in steps),
        "weight": max(float((expected[n] - found[n]).abs().max()) for n in expected),
    }
