"""train -> checkpoint: hybrid GRPO on the groups (eq. 7), in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from mbpo_core.config import Model, Recipe
from storage.store import Coverage
from tasks import train_process  # runs apart; imported so that its code enters the key
from tasks.requests import request_of
from tasks.rows import read
from tasks.stage import Job, ShardRows, Stage
from tasks.train_tables import CHECKPOINT, TRAIN_GROUPS, TRAIN_PROBES, TRAIN_ROLLOUTS, TRAIN_STEPS


class TrainingFailedError(RuntimeError):
    """The training process ended with an error."""


class Train(Stage):
    """One run of the Trainer; interrupted, it goes on from its newest checkpoint."""

    name = "train"
    inputs = ("ingest", "pair")
    tables = (CHECKPOINT, TRAIN_STEPS, TRAIN_PROBES, TRAIN_ROLLOUTS, TRAIN_GROUPS)
    libraries = ("torch", "transformers", "accelerate", "peft", "pyarrow")
    exclusive = True
    counted = "train_steps"

    def models(self, recipe: Recipe) -> dict[str, Model]:
        """Return the policy; the reference is its initial state."""
        return {"policy": recipe.policy}

    def shards(self, job: Job) -> int:
        """Training is one piece."""
        return 1

    def run(self, job: Job, shard: int) -> ShardRows:
        """Train in a subprocess, so that the device's memory dies with it."""
        work = job.store.work(self.name, job.key)
        _train(job, work)
        result = json.loads((work / "result.json").read_text(encoding="utf-8"))
        log = {name: _jsonl(work / "run" / "log" / f"{name}.jsonl")
               for name in ("steps", "probes", "rollouts")}  # fmt: skip
        files = {"model": work / "run" / "model"}
        if (work / "run" / "adapter").is_dir():
            files["adapter"] = work / "run" / "adapter"
        return ShardRows(
            {
                "checkpoint": [result["checkpoint"]],
                "train_steps": log["steps"],
                "train_probes": log["probes"],
                "train_rollouts": log["rollouts"],
                "train_groups": result["groups"],
            },
            files,
            {"ranks": result["ranks"]},
        )

    def coverage(self, job: Job) -> list[Coverage]:
        """Every group says how often it was used, or why not."""
        ids = [
            row["group_id"] for row in read(job.store, job.inputs["pair"], "groups", ["group_id"])
        ]
        return [Coverage("train_groups", "group_id", ids, unique=True)]


def _train(job: Job, work: Path) -> None:
    """Run `tasks.train_process`; its standard input is the rope that it hangs on.

    Raises TrainingFailedError with the end of what it said.
    """
    request = work / "request.json"
    request.write_text(json.dumps(request_of(Train.name, job) | {"device": job.device}))
    launcher = job.runtime.train_launcher or (sys.executable,)
    process = subprocess.Popen(
        [*launcher, "-m", train_process.__name__, str(request)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said = [*said[-20:], line]
            if line.startswith("step "):
                job.note(line.strip())
    if process.returncode:
        raise TrainingFailedError(
            f"training ended with exit code {process.returncode}:\n{''.join(said)}"
        )


def _jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
