"""train -> checkpoint: hybrid GRPO on the groups (eq. 7), in a worker of its own."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import get_num_threads, set_num_threads

from mbpo_core.config import Model, Recipe
from storage.store import Coverage
from tasks import train_process
from tasks.launchers import command
from tasks.lifeline import let_go_of_ranks
from tasks.requests import request_of
from tasks.runtime import Runtime
from tasks.stage import Job, ShardRows, Stage
from tasks.train_benchmarks import fingerprint_benchmarks
from tasks.train_tables import (
    CHECKPOINT,
    TRAIN_BENCHMARKS,
    TRAIN_GROUPS,
    TRAIN_PROBES,
    TRAIN_ROLLOUTS,
    TRAIN_STEPS,
)

LAST_LINES = 60
"""Of what a launcher said: the error of a rank, and the launcher's account of it."""


class TrainingFailedError(RuntimeError):
    """The training process ended with an error."""


class Train(Stage):
    """One run of the Trainer; interrupted, it goes on from its newest checkpoint."""

    name = "train"
    inputs = ("ingest", "mine", "pair")
    tables = (CHECKPOINT, TRAIN_STEPS, TRAIN_PROBES, TRAIN_ROLLOUTS, TRAIN_GROUPS,
              TRAIN_BENCHMARKS)  # fmt: skip
    libraries = ("torch", "transformers", "accelerate", "peft", "pyarrow")
    exclusive = True
    counted = "train_steps"

    def models(self, recipe: Recipe) -> dict[str, Model]:
        """Return the policy; the reference is its initial state."""
        return {"policy": recipe.policy}

    def external(self, recipe: Recipe, runtime: Runtime) -> dict[str, str]:
        """Return the content of the benchmarks that are asked during training."""
        return fingerprint_benchmarks(recipe)

    def unused_code(self, recipe: Recipe) -> tuple[str, ...]:
        """Return what asks benchmarks, unless they are: training depends on no score of them."""
        return () if recipe.train.benchmarks else ("tasks.train_benchmarks",)

    def shards(self, job: Job) -> int:
        """Training is one piece."""
        return 1

    def run(self, job: Job, shard: int) -> ShardRows:
        """Train in this worker, which ends with its stage, or in processes of a launcher."""
        work = job.store.work(self.name, job.key)
        result = _launch(job, work) if job.runtime.train_launcher else _train_here(job, work)
        log = {name: _jsonl(work / "run" / "log" / f"{name}.jsonl")
               for name in ("steps", "probes", "rollouts", "benchmarks")}  # fmt: skip
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
                "train_benchmarks": log["benchmarks"],
            },
            files,
            {"ranks": result["ranks"], "model_seconds": result["model_seconds"]},
        )

    def coverage(self, job: Job) -> list[Coverage]:
        """Every group says how often it was used, or why not."""
        ids = job.store.table(job.inputs["pair"], "groups", ["group_id"])["group_id"]
        return [Coverage("train_groups", "group_id", ids, unique=True)]


class _Notes(logging.Handler):
    """Passes warnings on to whoever waits for the shard."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one on."""
        self._note(record.getMessage())


def _train_here(job: Job, work: Path) -> dict[str, Any]:
    logger, notes, threads = logging.getLogger("mbpo_core"), _Notes(job.note), get_num_threads()
    if job.device == "cpu":
        set_num_threads(job.recipe.train.cpu_threads)
    logger.addHandler(notes)
    try:
        return train_process.run(job, job.device, work, job.note)
    finally:
        logger.removeHandler(notes)
        set_num_threads(threads)


def _launch(job: Job, work: Path) -> dict[str, Any]:
    """Run `tasks.train_process` under the launcher and return what it wrote.

    Raises TrainingFailedError with the end of what it said.
    """
    request = work / "request.json"
    request.write_text(json.dumps(request_of(Train.name, job) | {"device": job.device}))
    process = subprocess.Popen(
        [*command(job.runtime.train_launcher), "-m", train_process.__name__, str(request)],
        # Never written to: it ends when this process does, and the ranks with it (`lifeline`).
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    with process:
        let_go_of_ranks(process)
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said = [*said[-LAST_LINES:], line]
            if line.startswith("step "):
                job.note(line.strip())
    if process.returncode:
        raise TrainingFailedError(
            f"training ended with exit code {process.returncode}:\n{''.join(said)}"
        )
    return json.loads((work / "result.json").read_text(encoding="utf-8"))


def _jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
