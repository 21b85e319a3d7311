"""What there is in a store and how two of its versions differ, for commands to print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storage.compare import TableChange, compare_versions
from storage.lookup import Lookup
from storage.manifest import Manifest
from storage.refs import ArtifactRef
from storage.runs import RunRecord, read_runs
from storage.store import ArtifactStore
from storage.tags import read_tags
from tasks.order import ORDER
from tasks.why import Cause, causes_between


@dataclass(frozen=True)
class Version:
    """One version of a stage, with what one needs to choose among them."""

    ref: str
    stage: str
    table: str
    rows: int
    refused: int
    bytes: int
    created_at: str
    recipe: str
    run_id: str
    """The run that made it."""
    tags: tuple[str, ...]
    latest_of: tuple[str, ...]
    """Recipes whose newest run with this stage used it."""
    key: str
    content: str


def versions(store: ArtifactStore) -> list[Version]:
    """Return all versions, the newest last."""
    latest: dict[tuple[str, str], ArtifactRef] = {}
    runs = read_runs(store.root)
    for run in runs:
        latest |= {(run.recipe, stage): ref for stage, ref in run.stages.items()}
    tagged = tags_by_ref(store, runs)
    found = []
    for ref, manifest in store.refs():
        refused = sum(manifest.reasons.get(manifest.artifact, {}).values())
        newest = tuple(recipe for (recipe, _), used in latest.items() if used == ref)
        found.append(
            Version(
                ref.short, ref.stage, manifest.artifact, manifest.rows, refused, manifest.bytes,
                manifest.created_at, manifest.recipe, manifest.run_id, tagged.get(ref, ()),
                newest, ref.key, ref.content,
            )
        )  # fmt: skip
    return found


def tags_by_ref(store: ArtifactStore, runs: list[RunRecord]) -> dict[ArtifactRef, tuple[str, ...]]:
    """Return the tags of each artifact; a run's tag is one of all its artifacts."""
    by_id = {run.run_id: run for run in runs}
    found: dict[ArtifactRef, tuple[str, ...]] = {}
    for tag in read_tags(store.root):
        run = by_id.get(tag.run_id or "")
        for ref in [tag.ref] if tag.ref else run.stages.values() if run else ():
            found[ref] = (*found.get(ref, ()), tag.name)
    return found


def described(store: ArtifactStore, ref: ArtifactRef, rows: int) -> dict[str, Any]:
    """Return all that is known of an artifact, and its first rows; images as size and md5."""
    manifest = store.manifest(ref)
    counts = dict.fromkeys(manifest.tables, 0)
    for part in manifest.parts:
        counts[part.table] += part.rows
    with Lookup(store) as lookup:
        first = lookup.first(ref, manifest.artifact, rows)
    tags = tags_by_ref(store, read_runs(store.root)).get(ref, ())
    same = ("created_at", "recipe", "run_id", "code_revision", "code_dirty", "device",
            "wall_seconds", "bytes", "models", "libraries")  # fmt: skip
    return {
        "ref": ref.short, "stage": ref.stage, "key": ref.key, "content": ref.content,
        "folder": str(store.path(ref)), "tags": tags, "tables": counts,
        "refused": manifest.reasons,
        "inputs": {name: each.short for name, each in manifest.inputs.items()},
        "external_inputs": _external(manifest),
        **{name: getattr(manifest, name) for name in same},
        "config": manifest.identity.get("config", {}), "rows": first,
    }  # fmt: skip


def _external(manifest: Manifest) -> dict[str, str]:
    """Return hashes of what it was made from and what is not in the store."""
    inputs = manifest.identity.get("inputs", {})
    return {name: value for name, value in inputs.items() if name not in manifest.inputs}


@dataclass(frozen=True)
class Difference:
    """How one version of a stage differs from another."""

    stage: str
    old: str | None
    """None where only the other has the stage."""
    new: str | None
    causes: tuple[Cause, ...] = ()
    refused: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    """Refusals by table and reason, of both."""
    tables: tuple[TableChange, ...] = ()

    @property
    def equal(self) -> bool:
        """Say whether both have the same content."""
        return None not in (self.old, self.new) and all(table.equal for table in self.tables)


def difference(
    store: ArtifactStore, old: ArtifactRef, new: ArtifactRef, examples: int
) -> Difference:
    """Compare two versions of a stage; ValueError for two stages."""
    if old.stage != new.stage:
        raise ValueError(
            f"{old.short} and {new.short} are of two stages: give two versions of one "
            f"(`mbpo ls {old.stage}`), or two runs (`mbpo runs`)"
        )
    before, after = store.manifest(old), store.manifest(new)
    common = [table for table in after.tables if table in before.tables]
    tables = tuple(compare_versions(store, t, old, new, examples=examples) for t in common)
    return Difference(
        old.stage, old.short, new.short, causes_between(store, old, new),
        (before.reasons, after.reasons), () if old.content == new.content else tables,
    )  # fmt: skip


def run_differences(
    store: ArtifactStore, old: RunRecord, new: RunRecord, examples: int
) -> list[Difference]:
    """Compare two runs stage by stage, in order."""
    found = []
    for stage in in_order({**old.stages, **new.stages}):
        before, after = old.stages.get(stage), new.stages.get(stage)
        if before and after:
            found.append(difference(store, before, after, examples))
        else:
            sides = [ref and ref.short for ref in (before, after)]
            found.append(Difference(stage, sides[0], sides[1]))
    return found


def in_order(stages: Mapping[str, ArtifactRef]) -> dict[str, ArtifactRef]:
    """Return stages in the order of the pipeline, others behind them."""
    named = [*ORDER, *sorted(set(stages) - set(ORDER))]
    return {name: stages[name] for name in named if name in stages}
