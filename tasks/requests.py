"""A job as JSON values: how it reaches worker processes and the training process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mbpo_core.config import Recipe
from storage.refs import ArtifactRef
from storage.store import ArtifactStore
from tasks.runtime import Runtime
from tasks.stage import Job


def request_of(stage: str, job: Job) -> dict[str, Any]:
    """Return a job of a stage as JSON values."""
    return {
        "stage": stage,
        "key": job.key,
        "root": str(job.store.root),
        "recipe": job.recipe.model_dump(mode="json"),
        "runtime": job.runtime.model_dump(mode="json"),
        "inputs": {name: ref.to_dict() for name, ref in job.inputs.items()},
        "fresh": job.fresh,
    }


def job_of(request: dict[str, Any], device: str) -> Job:
    """Return the job of a request."""
    return Job(
        recipe=Recipe.model_validate(request["recipe"]),
        store=ArtifactStore(Path(request["root"])),
        key=request["key"],
        inputs={name: ArtifactRef.from_dict(ref) for name, ref in request["inputs"].items()},
        runtime=Runtime.model_validate(request["runtime"]),
        device=device,
        fresh=request["fresh"],
    )
