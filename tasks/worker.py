"""A worker process: computes shards on one device and keeps its model loaded between them.

Requests and answers are JSON lines. When the parent is gone, so is the worker.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import torch

from mbpo_core.evaluation.protocol import BenchmarkError
from storage.disk import trouble_of
from storage.errors import DamagedArtifact
from storage.tables import as_table
from tasks.clock import seconds_around
from tasks.registry import STAGES
from tasks.requests import job_of
from tasks.sources import SourceError
from tasks.stage import Job, Stage

logger = logging.getLogger(__name__)
_FILES_TO_MEND = (SourceError, BenchmarkError, DamagedArtifact)
"""Not our fault, and no new try helps: said without a traceback."""


def compute(stage: Stage, job: Job, shard: int) -> dict[str, Any]:
    """Compute one shard and store it; return facts about it."""
    if job.runtime.fail == f"{stage.name}/{shard}":
        raise RuntimeError(f"shard {stage.name}/{shard} fails because the runtime asks for it")
    began, started = datetime.now(UTC), time.monotonic()
    seconds_around()  # what was read before is not this shard's
    planned = stage.shards(job)
    rows = stage.finish(job) if shard == planned else stage.run(job, shard)
    if rows is None:
        raise RuntimeError(f"stage {stage.name} plans {planned} shards, shard {shard} is unknown")
    seconds = time.monotonic() - started
    in_model = shard < planned and bool(stage.models(job.recipe))
    facts = {
        "shard": shard,
        "rows": {table: len(found) for table, found in rows.tables.items()},
        "started_at": began.isoformat(timespec="microseconds"),
        "seconds": round(seconds, 3),
        "model_seconds": round(seconds - seconds_around(), 3) if in_model else 0.0,
        "device": device_name(job.device),
    } | rows.facts
    tables = {spec.name: as_table(rows.tables.get(spec.name, []), spec) for spec in stage.tables}
    job.store.write_shard(stage.name, job.key, shard, tables, rows.files, facts)
    return facts


def answer(request: dict[str, Any], device: str, note: Callable[[str], None]) -> dict[str, Any]:
    """Compute the shard of a request and return its facts, or what went wrong, as JSON values.

    Raises only torch.AcceleratorError: after it this process can no longer use its device.
    """
    try:
        job = replace(job_of(request, device), note=note)
        return {"facts": compute(STAGES[request["stage"]], job, request["shard"])}
    except Exception as error:  # whoever asked decides what a failure means
        logger.exception("shard %s of %s failed", request["shard"], request["stage"])
        if isinstance(error, torch.AcceleratorError):
            raise
        disk = trouble_of(error, Path(request.get("root", ".")))
        if disk or isinstance(error, _FILES_TO_MEND):
            return {"error": disk or str(error), "transient": False, "mendable": True}
        transient = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
        return {"error": f"{type(error).__name__}: {error}", "transient": transient}


def device_name(device: str) -> str:
    """Return the device in words."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def _listen(requests: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    os._exit(0)  # the parent closed the pipe or died: nobody waits for the shard in work


def serve(device: str, answers: TextIO) -> None:
    """Answer requests until the parent goes."""
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    while True:
        request = requests.get()
        try:
            reply = answer(request, device, lambda text: _say(answers, {"note": text}))
        except torch.AcceleratorError:
            os._exit(1)  # the device's context is lost; a fresh process tries again
        _say(answers, reply)


def _say(answers: TextIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def main(device: str) -> None:
    """Serve on standard input and output."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not stand between the answers
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    # One thread a worker: results must not depend on how many workers share the machine.
    torch.set_num_threads(1)
    serve(device, answers)


if __name__ == "__main__":
    main(sys.argv[1])
