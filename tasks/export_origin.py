"""Where an exported artifact comes from: its inputs, its recipe, what was measured with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from storage.manifest import Manifest
from storage.refs import ArtifactRef
from storage.runs import read_runs
from storage.store import ArtifactStore
from tasks.gallery import with_upstream

Row = dict[str, Any]
ENDPOINT = "an address that is not published"


@dataclass(frozen=True)
class Origin:
    """One artifact with all that it was made from."""

    ref: ArtifactRef
    manifest: Manifest
    upstream: dict[str, ArtifactRef]
    """By stage, itself too; of several of one stage the nearest."""
    recipe: Row | None
    """All settings of the newest run that used it; None where no record of one is left."""

    def need(self, stage: str) -> ArtifactRef:
        """Return the artifact of a stage that this one is or was made from; else ValueError."""
        if stage not in self.upstream:
            raise ValueError(
                f"{self.ref.short} was not made from any {stage}; give `{stage}`, {stage}/KEY or "
                "what was made from one (`mbpo ls` lists them)"
            )
        return self.upstream[stage]


def origin_of(store: ArtifactStore, ref: ArtifactRef) -> Origin:
    """Return where an artifact comes from. Raises StoreError if it, or what it names, is gone."""
    upstream: dict[str, ArtifactRef] = {}
    for made in with_upstream(store, ref):
        upstream.setdefault(made.stage, made)
    return Origin(ref, store.manifest(ref), upstream, settings_of(store, ref))


def settings_of(store: ArtifactStore, ref: ArtifactRef) -> Row | None:
    """Return the recipe of the newest run that used an artifact; None where none is on record."""
    for record in reversed(read_runs(store.root)):
        if record.settings and ref in record.stages.values():
            return record.settings
    return None


def measured_with(
    store: ArtifactStore, trained: ArtifactRef
) -> tuple[ArtifactRef, list[Row]] | None:
    """Return the newest evaluation of a trained model and its metrics; None if there is none."""
    for ref, _ in reversed(store.refs("evaluate")):
        if trained in with_upstream(store, ref):
            return ref, store.table(ref, "metrics").to_pylist()
    return None


def published(value: Any, key: str = "") -> Any:
    """Return settings as they may be shown: of an absolute path its last part, of an endpoint
    no address."""
    if isinstance(value, dict):
        return {name: published(each, name) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [published(each, key) for each in value]
    if key == "base_url" and value is not None:
        return ENDPOINT
    if isinstance(value, str) and (PurePath(value).is_absolute() or value.startswith("~")):
        return PurePath(value).name
    return value
