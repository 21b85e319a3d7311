"""Damaged artifacts made again: from the recipe of the run that used them, and the same inputs."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from mbpo_core.config import Recipe
from storage.doctor import Damage, quarantine
from storage.errors import LockBusy
from storage.refs import ArtifactRef
from storage.runs import RunRecord, finish_run, in_progress, read_runs, start_run
from storage.store import ArtifactStore
from tasks.materialise import Progress, materialise
from tasks.pool import WorkerPool
from tasks.registry import ORDER, STAGES
from tasks.runtime import Runtime


@dataclass(frozen=True)
class Repaired:
    """What became of one damage."""

    damage: Damage
    mended: bool
    said: str
    """In words, for people."""


def repair(
    damages: list[Damage],
    runtime: Runtime,
    pool: WorkerPool,
    progress: Progress = lambda stage, done, planned: None,
    tell: Callable[[Repaired], None] = lambda repaired: None,
) -> list[Repaired]:
    """Put all that is damaged aside, then make the artifacts among it again, in their order.

    An artifact can be made again if a run record knows its recipe, and neither code nor libraries
    have changed since; its bytes are then those that were lost, which is checked.
    """
    store = ArtifactStore(runtime.root)
    results = []
    for damage in sorted(damages, key=_place):
        results.append(_repair(store, damage, runtime, pool, progress))
        tell(results[-1])
    return results


def _place(damage: Damage) -> tuple[int, str]:
    """Inputs before what is made of them."""
    stage = damage.stage or ""
    return (ORDER.index(stage) if stage in ORDER else len(ORDER)), str(damage.path)


def _repair(
    store: ArtifactStore, damage: Damage, runtime: Runtime, pool: WorkerPool, progress: Progress
) -> Repaired:
    try:
        aside = quarantine(store, damage)
    except LockBusy as error:
        return Repaired(damage, False, f"left alone: {error}")
    where = f"put aside as {aside.relative_to(store.root)}; " if aside else ""
    if damage.kind == "staged shard":
        return Repaired(damage, True, f"{where}the next run of {damage.stage} computes it again")
    if damage.kind == "run record":
        return Repaired(damage, True, f"{where}the artifacts of that run are not touched")
    found = _used(store, damage)
    if found is None:
        return Repaired(damage, False, f"{where}no run record says how it was made")
    mended, said = _again(store, *found, runtime, pool, progress)
    return Repaired(damage, mended, where + said)


def _used(store: ArtifactStore, damage: Damage) -> tuple[ArtifactRef, RunRecord] | None:
    """Return the artifact that stood in that folder, and the newest run that used it."""
    for run in reversed(read_runs(store.root)):
        for ref in run.stages.values():
            if (ref.stage, ref.directory) == (damage.stage, damage.path.name) and run.settings:
                return ref, run
    return None


def _again(
    store: ArtifactStore,
    ref: ArtifactRef,
    run: RunRecord,
    runtime: Runtime,
    pool: WorkerPool,
    progress: Progress,
) -> tuple[bool, str]:
    """Make the artifact again; return whether it is back, and what to say."""
    stage = STAGES[ref.stage]
    try:
        recipe = Recipe.model_validate(run.settings)
    except ValidationError as error:
        return False, f"the recipe of run {run.run_id} is not one of this version: {error}"
    inputs = {name: run.stages[name] for name in stage.upstream(recipe) if name in run.stages}
    lost = [each.short for each in inputs.values() if store.find(each.stage, each.key) != each]
    if lost or set(inputs) != set(stage.upstream(recipe)):
        return False, f"its inputs are not there ({', '.join(lost) or 'unknown'})"
    if stage.identity(recipe, runtime, inputs).key != ref.key:
        return False, (
            "code, libraries or sources have changed since it was made, so these bytes cannot come "
            f"back; `mbpo run` with recipe {recipe.name} makes its successor"
        )
    run_id = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:6]
    status = "failed"
    with in_progress(store.root, run_id), store.holding(inputs.values()):
        start_run(store.root, run_id, recipe.name, run.settings)
        try:
            made = materialise(stage, recipe, runtime, inputs, pool, run_id, progress=progress).ref
            status = "completed"
        finally:
            finish_run(store.root, run_id, status)
    if made != ref:
        return False, f"made again with other content: {made.content[:12]}, was {ref.content[:12]}"
    return True, f"made again, byte for byte: {ref.short}"
