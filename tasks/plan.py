"""What a run would do: each stage hit or miss and why, with estimated rows, time and bytes.

Nothing is computed and no model is loaded. Estimates come from the latest version of the same
stage with the same models in the store (a pilot, say), per row; without one they are unknown, and
said to be.
"""

from __future__ import annotations

from dataclasses import dataclass

from mbpo_core.config import EmbeddedSource, Recipe
from storage.identity import Identity, explain
from storage.manifest import Manifest
from storage.refs import ArtifactRef
from storage.store import ArtifactStore
from tasks.ingest import record_count
from tasks.registry import STAGES
from tasks.runtime import Runtime
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
    seconds: float | None
    """Estimated time of one worker; 0 for a hit, None = nothing measured yet."""
    bytes: int | None


def plan(recipe: Recipe, runtime: Runtime) -> list[Planned]:
    """Return what `run` would do with each stage."""
    store = ArtifactStore(runtime.root)
    refs: dict[str, ArtifactRef] = {}
    rows: dict[str, int | None] = {}
    planned = []
    for name, stage in STAGES.items():
        missing = [upstream for upstream in stage.inputs if upstream not in refs]
        if missing:
            state, why = "depends on a miss", (f"needs {', '.join(missing)}",)
            rows[name] = _expected_rows(name, recipe, runtime, rows)
        else:
            inputs = {upstream: refs[upstream] for upstream in stage.inputs}
            identity = stage.identity(recipe, runtime, inputs)
            found = store.find(name, identity.key)
            if found is not None:
                manifest = store.manifest(found)
                refs[name] = found
                rows[name] = manifest.rows
                planned.append(Planned(name, "hit", (found.short,), rows[name], 0.0, manifest.bytes))
                continue
            state, why = "miss", _why(store, stage, identity)
            rows[name] = _expected_rows(name, recipe, runtime, rows)
        seconds, size = _estimate(store, stage, recipe, rows[name])
        planned.append(Planned(name, state, why, rows[name], seconds, size))
    return planned


def _why(store: ArtifactStore, stage: Stage, identity: Identity) -> tuple[str, ...]:
    """Return what differs from the latest version of the stage, and what is left of a broken run."""
    started = store.staged_shards(stage.name, identity.key)
    left = (f"{len(started)} shards of an earlier run are there",) if started else ()
    versions = store.refs(stage.name)
    if not versions:
        return (*left, "never made")
    _, manifest = versions[-1]
    return (*left, *(explain(manifest.identity, identity.to_dict()) or ["its files are gone"]))


def _expected_rows(
    name: str, recipe: Recipe, runtime: Runtime, rows: dict[str, int | None]
) -> int | None:
    """Return how many rows a stage makes at most."""
    if name == "ingest":
        return record_count(recipe, runtime)
    if name in ("score", "select"):
        return rows["ingest"]
    if name in ("mine", "respond"):
        known = rows["ingest"]
        return None if known is None else min(known, recipe.select.k)
    if name == "pair":
        return rows["ingest"]
    if name == "train":
        return 1
    return None


def _estimate(
    store: ArtifactStore, stage: Stage, recipe: Recipe, rows: int | None
) -> tuple[float | None, int | None]:
    """Return seconds and bytes, scaled by rows from the latest version with the same models."""
    models = stage.model_identities(recipe)
    for _, manifest in reversed(store.refs(stage.name)):
        if manifest.identity.get("models", {}) == models and rows is not None:
            return _scaled(manifest, rows)
    return None, None


def _scaled(manifest: Manifest, rows: int) -> tuple[float, int]:
    made = max(manifest.rows, 1)
    seconds = sum(shard.get("seconds", 0.0) for shard in manifest.shards)
    return seconds * rows / made, round(manifest.bytes * rows / made)
