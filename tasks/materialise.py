"""One stage made real: a hit in the store, or the missing shards and a commit."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from mbpo_core.config import Recipe
from storage.identity import Identity
from storage.refs import ArtifactRef
from storage.runs import record_stage
from storage.store import ArtifactStore
from tasks.failures import check_failures
from tasks.pool import PROJECT
from tasks.requests import request_of
from tasks.retry import set_aside
from tasks.runtime import Runtime
from tasks.shard_pool import ShardPool
from tasks.stage import Job, Stage

logger = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]
"""Called with the stage, the shards that are there, and the shards planned."""
Note = Callable[[str], None]
"""Called with what a long shard says of itself, such as the step that training has reached."""
RunShards = Callable[[dict[str, Any], Sequence[int], Callable[[dict[str, Any]], None], Note], None]


@dataclass(frozen=True)
class Materialised:
    """The artifact of a stage and how it came about."""

    ref: ArtifactRef
    hit: bool
    seconds: float
    computed: tuple[int, ...] = ()
    """Shards that had to be computed."""


def materialise(
    stage: Stage,
    recipe: Recipe,
    runtime: Runtime,
    inputs: Mapping[str, ArtifactRef],
    pool: ShardPool,
    run_id: str,
    *,
    refresh: bool = False,
    retry: Collection[str] = (),
    progress: Progress = lambda stage, done, planned: None,
    note: Note = lambda text: None,
    run_shards: RunShards | None = None,
) -> Materialised:
    """Return the stage's artifact for these inputs, computing only what is missing.

    `refresh` computes all of it again, `retry` the shards with rows of such statuses
    (`tasks.retry`). Raises the first failure of a shard after every other one had its chance;
    finished shards stay, so that the next run goes on from there. Raises TooManyFailuresError where
    too large a share of the rows failed; the shards stay then too.
    """
    store = ArtifactStore(runtime.root)
    started = time.monotonic()
    identity = stage.identity(recipe, runtime, inputs)
    job = Job(recipe, store, identity.key, inputs, runtime, fresh=refresh)
    with store.lock(stage.name, job.key):
        found = None if refresh else store.find(stage.name, job.key)
        if retry and not refresh:
            found = set_aside(stage, job, found, retry)
        missing: list[int] = []
        if found is None:
            if refresh:
                store.discard_staging(stage.name, job.key)
            missing = _compute(stage, job, pool, progress, note, run_shards or pool.run_all)
            found = _commit(stage, job, identity, run_id, time.monotonic() - started)
        record_stage(store.root, run_id, stage.name, found)
    seconds = time.monotonic() - started
    return Materialised(found, not missing, seconds, tuple(missing))


def _compute(
    stage: Stage,
    job: Job,
    pool: ShardPool,
    progress: Progress,
    note: Note,
    run_shards: RunShards,
) -> list[int]:
    planned = stage.shards(job)
    shards = list(range(planned + stage.finishing))
    missing = job.store.missing_shards(stage.name, job.key, shards)
    done = len(shards) - len(missing)
    progress(stage.name, done, len(shards))

    def count(facts: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        progress(stage.name, done, len(shards))

    request = request_of(stage.name, job) | {
        "runs_model": bool(stage.models(job.recipe)),
        "exclusive": stage.exclusive,
        "made_by": stage.made_by(job.recipe, job.runtime),
    }
    if stage.exclusive:
        pool.release()
    # What needs all shards runs after them.
    for wave in ([s for s in missing if s < planned], [s for s in missing if s >= planned]):
        if wave:
            run_shards(request, wave, count, note)
    if stage.exclusive:
        pool.release()
    return missing


def _commit(stage: Stage, job: Job, identity: Identity, run_id: str, seconds: float) -> ArtifactRef:
    check_failures(job.store, stage.name, job.key, job.runtime.max_failures)
    revision, dirty = code_revision()
    return job.store.commit(
        stage.name,
        job.key,
        shards=list(range(stage.shards(job) + stage.finishing)),
        tables=stage.tables,
        coverage=stage.coverage(job),
        identity=identity,
        inputs=dict(job.inputs),
        recipe=job.recipe.name,
        run_id=run_id,
        code_revision=revision,
        code_dirty=dirty,
        wall_seconds=seconds,
        device=", ".join(sorted(_devices(stage, job))),
    )


def _devices(stage: Stage, job: Job) -> set[str]:
    """Return what the shards were computed on: stages without a model do not take the GPUs."""
    return {shard.info["device"] for shard in job.store.staged_shards(stage.name, job.key)}


@cache
def code_revision() -> tuple[str, bool]:
    """Return the commit of the project's code and whether it has changes.

    As of the first call: what this process imported does not change with the files. Outside of git,
    as in an image, it is what the image was built from (MBPO_REVISION), or "".
    """
    revision = _git("rev-parse", "HEAD")
    if revision is None:
        return os.environ.get("MBPO_REVISION", ""), False
    return revision, bool(_git("status", "--porcelain"))


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True)
    except FileNotFoundError:  # an image has no git
        return None
    return None if done.returncode else done.stdout.strip()
