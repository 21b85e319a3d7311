"""All stages in order: which of them run, what they take from the store, and the run's record."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from mbpo_core.config import Recipe
from storage.disk import naming_the_disk
from storage.refs import ArtifactRef
from storage.runs import finish_run, in_progress, record_stage, start_run
from storage.store import ArtifactStore
from tasks.catalogue import CatalogueKeeper
from tasks.launchers import check_launcher
from tasks.materialise import Materialised, Note, Progress, RunShards, materialise
from tasks.order import ORDER, Choice, MissingUpstreamError
from tasks.registry import STAGES
from tasks.runtime import Runtime
from tasks.samplers import sampler_version
from tasks.shard_pool import ShardPool
from tasks.stage import Stage


def run_pipeline(
    recipe: Recipe,
    runtime: Runtime,
    choice: Choice,
    pool: ShardPool,
    *,
    progress: Progress = lambda stage, done, planned: None,
    note: Note = lambda text: None,
    run_shards: RunShards | None = None,
    finished: Callable[[str, Materialised], None] = lambda stage, made: None,
) -> dict[str, Materialised]:
    """Compute the chosen stages and return what they made; earlier ones come from the store.

    Raises MissingUpstreamError where a stage that is not computed is not in the store either, and
    ValueError, before anything runs, where the sampler that one of them needs is not there; what
    `check_launcher` raises; DiskError, before anything is computed, where the store cannot be
    written.
    """
    with naming_the_disk(runtime.root):
        return _run(
            recipe, runtime, choice, pool,
            progress=progress, note=note, run_shards=run_shards, finished=finished,
        )  # fmt: skip


def _run(
    recipe: Recipe,
    runtime: Runtime,
    choice: Choice,
    pool: ShardPool,
    *,
    progress: Progress,
    note: Note,
    run_shards: RunShards | None,
    finished: Callable[[str, Materialised], None],
) -> dict[str, Materialised]:
    needed = _needed(choice.stages(), recipe)
    if any(STAGES[name].draws_responses(recipe) for name in needed):
        sampler_version(runtime)
    if "train" in choice.stages():
        check_launcher(recipe, runtime)
    store = ArtifactStore(runtime.root)
    run_id = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:6]
    with in_progress(store.root, run_id):
        start_run(store.root, run_id, recipe.name, recipe.model_dump(mode="json"))
        refs: dict[str, ArtifactRef] = {}
        made: dict[str, Materialised] = {}
        status = "failed"
        catalogue = CatalogueKeeper(store)
        try:
            for name in needed:
                stage = STAGES[name]
                inputs = {upstream: refs[upstream] for upstream in stage.upstream(recipe)}
                if name in choice.stages():
                    made[name] = materialise(
                        stage, recipe, runtime, inputs, pool, run_id,
                        refresh=name in choice.refresh, retry=choice.retry, progress=progress,
                        note=note, run_shards=run_shards,
                    )  # fmt: skip
                    refs[name] = made[name].ref
                    catalogue.refresh()
                    finished(name, made[name])
                else:
                    refs[name] = _from_store(stage, recipe, runtime, inputs, store)
                    record_stage(store.root, run_id, name, refs[name])
                    # Recorded, it is kept; before that it may have been collected.
                    store.path(refs[name])
            status = "completed"
        finally:
            finish_run(store.root, run_id, status)
            catalogue.finish()
    return made


def _needed(stages: Sequence[str], recipe: Recipe) -> list[str]:
    """Return the stages and all that they take from, in order."""
    needed = set(stages)
    for name in reversed(ORDER):
        if name in needed:
            needed.update(STAGES[name].upstream(recipe))
    return [name for name in ORDER if name in needed]


def _from_store(
    stage: Stage,
    recipe: Recipe,
    runtime: Runtime,
    inputs: dict[str, ArtifactRef],
    store: ArtifactStore,
) -> ArtifactRef:
    key = stage.identity(recipe, runtime, inputs).key
    found = store.find(stage.name, key)
    if found is None:
        raise MissingUpstreamError(
            f"{stage.name}/{key[:8]} is not in the store {store.root}; make it with "
            f"`mbpo stage {stage.name} --recipe {recipe.name}` or "
            f"`prefect deployment run mbpo/{stage.name}`"
        )
    return found
