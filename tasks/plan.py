"""What a run would do: each stage hit or miss and why, with estimated rows, time and bytes.

Nothing is computed and no model is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from mbpo_core.config import Recipe
from mbpo_core.evaluation.protocol import BenchmarkError
from storage.identity import Identity, explain
from storage.refs import ArtifactRef
from storage.store import ArtifactStore
from tasks.estimate import Estimate, estimate, expected_rows
from tasks.ingest import record_count
from tasks.registry import STAGES
from tasks.runtime import Runtime
from tasks.samplers import sampler_version
from tasks.sources import SourceError
from tasks.stage import Stage


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


def plan(recipe: Recipe, runtime: Runtime) -> list[Planned]:
    """Return what `run` would do with each stage; ValueError where its sampler is not there."""
    if any(stage.draws_responses(recipe) for stage in STAGES.values()):
        sampler_version(runtime)
    store = ArtifactStore(runtime.root)
    refs: dict[str, ArtifactRef] = {}
    rows: dict[str, int | None] = {}
    planned = []
    for name, stage in STAGES.items():
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
    return "miss", _why(store, stage, identity), None


def _why(store: ArtifactStore, stage: Stage, identity: Identity) -> tuple[str, ...]:
    """Return what differs from the latest version, and what is left of an earlier run."""
    left = len(store.staged_shards(stage.name, identity.key))
    resumed = (f"{left} shards of an earlier run are there",) if left else ()
    versions = store.refs(stage.name)
    if not versions:
        return (*resumed, "never made")
    changes = explain(versions[-1][1].identity, identity.to_dict())
    return (*resumed, *(_shortened(changes) or ["its files are gone or damaged"]))


def _shortened(changes: list[str], most: int = 3) -> list[str]:
    """Count changes of code where they are many: whoever edits knows what they edited."""
    code = [line for line in changes if line.startswith("code:")]
    if len(code) <= most:
        return changes
    kept = [line for line in changes if line not in code]
    return [*kept, f"code: {len(code)} modules changed, {code[0].split()[1]} first"]
