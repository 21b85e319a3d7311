"""What a run would do: each stage hit or miss and why, with estimated rows, time and bytes.

Nothing is computed and no model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mbpo_core.config import Recipe
from mbpo_core.evaluation.protocol import BenchmarkError
from storage.identity import Identity
from storage.refs import ArtifactRef
from storage.store import ArtifactStore
from tasks.estimate import Estimate, estimate, expected_rows
from tasks.ingest import record_count
from tasks.registry import STAGES
from tasks.runtime import Runtime
from tasks.samplers import sampler_version
from tasks.sources import SourceError
from tasks.stage import Stage
from tasks.why import causes, in_lines, version_before


@dataclass(frozen=True)
class Planned:
    """What would happen to one stage."""

    stage: str
    state: str
    """`hit`, `miss`, or `depends on a miss`."""
    why: tuple[str, ...]
    rows: int | None
    """Rows that there are (hit), or at most will be; None = unknown."""
    cost: Estimate


def plan(
    recipe: Recipe, runtime: Runtime, progress: Callable[[str], None] = lambda stage: None
) -> list[Planned]:
    """Return what `run` would do with each stage; ValueError where its sampler is not there.

    `progress` is told each stage before it is looked at: the first time, its sources are hashed.
    """
    if any(stage.draws_responses(recipe) for stage in STAGES.values()):
        sampler_version(runtime)
    store = ArtifactStore(runtime.root)
    refs: dict[str, ArtifactRef] = {}
    rows: dict[str, int | None] = {}
    planned = []
    for name, stage in STAGES.items():
        progress(name)
        state, why, found = _state(store, stage, recipe, runtime, refs)
        if found is not None:
            manifest = store.manifest(found)
            refs[name], rows[name] = found, manifest.rows
            cost = Estimate(0.0, manifest.bytes, "measured")
        else:
            rows[name] = _rows(name, recipe, runtime, rows)
            cost = estimate(store, stage, recipe, runtime, rows[name])
        planned.append(Planned(name, state, why, rows[name], cost))
    return planned


def _rows(name: str, recipe: Recipe, runtime: Runtime, rows: dict[str, int | None]) -> int | None:
    if name != "ingest":
        return expected_rows(name, recipe, rows)
    try:
        return record_count(recipe, runtime.root)
    except SourceError:
        return None  # `why` says so


def _state(
    store: ArtifactStore,
    stage: Stage,
    recipe: Recipe,
    runtime: Runtime,
    refs: dict[str, ArtifactRef],
) -> tuple[str, tuple[str, ...], ArtifactRef | None]:
    if missing := [each for each in stage.upstream(recipe) if each not in refs]:
        return "depends on a miss", (f"needs {', '.join(missing)}",), None
    inputs = {upstream: refs[upstream] for upstream in stage.upstream(recipe)}
    try:
        identity = stage.identity(recipe, runtime, inputs)
    except (SourceError, BenchmarkError) as error:
        return "miss", (str(error),), None
    found = store.find(stage.name, identity.key)
    if found is not None:
        return "hit", (found.short,), found
    return "miss", _why(store, identity, recipe, inputs), None


def _why(
    store: ArtifactStore, identity: Identity, recipe: Recipe, inputs: dict[str, ArtifactRef]
) -> tuple[str, ...]:
    """Return what differs from the version before, and what is left of an earlier run."""
    left = len(store.staged_shards(identity.stage, identity.key))
    resumed = (f"{left} shards of an earlier run are there",) if left else ()
    before = version_before(store, identity.stage, recipe.name)
    if before is None:
        return (*resumed, "never made")
    found = causes(store, before, identity.to_dict(), inputs)
    return (*resumed, *(in_lines(found) or ["its files are gone or damaged"]))
