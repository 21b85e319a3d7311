"""What the catalogue's own tables say: rows from manifests and run records."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage.guard import glob_escaped
from storage.manifest import Manifest, PartInfo
from storage.publish import committed_at, whole
from storage.refs import ArtifactRef
from storage.runs import RunRecord
from storage.store import ArtifactStore


@dataclass(frozen=True)
class Version:
    """One intact artifact."""

    path: Path
    manifest: Manifest

    @property
    def id(self) -> dict[str, str]:
        """Return the columns that name it."""
        return self.manifest.ref.to_dict()

    def glob(self, table: str) -> str:
        """Return the pattern of a table's parts; special characters of the path are escaped."""
        return f"{glob_escaped(str(self.path))}/{table}-*.parquet"

    def view(self, table: str) -> str:
        """Return the name of the view of this version of a table."""
        return f"{table}__{self.manifest.ref.key[:8]}"


Latest = dict[tuple[str, str], Version]
"""The version of the latest run of each recipe, by recipe and table."""


def versions_of(store: ArtifactStore) -> list[Version]:
    """Return the intact artifacts, oldest commit first; a view over a lost file would fail."""
    found = ((store.path(ref), manifest) for ref, manifest in store.refs())
    return [Version(path, manifest) for path, manifest in found if whole(path, manifest)]


def latest_of_all(versions: list[Version], runs: list[RunRecord]) -> dict[str, Version]:
    """Return for each table the version of the latest run that has it, else the last commit."""
    used = (version for _, version in _used(versions, runs))
    return {table: v for v in [*versions, *used] for table in v.manifest.tables}


def latest_by_recipe(versions: list[Version], runs: list[RunRecord]) -> Latest:
    """Return the same for each recipe alone; a version may be the latest of several.

    Where no run is on record as its user, a version is that of the recipe which made it.
    """
    used = list(_used(versions, runs))
    recorded = {version.manifest.ref for _, version in used}
    made = [(v.manifest.recipe, v) for v in versions if v.manifest.ref not in recorded]
    return {
        (recipe, table): version
        for recipe, version in [*made, *used]
        for table in version.manifest.tables
    }


def _used(versions: list[Version], runs: list[RunRecord]) -> Iterator[tuple[str, Version]]:
    by_ref = {version.manifest.ref: version for version in versions}
    for run in runs:
        yield from ((run.recipe, by_ref[ref]) for ref in run.stages.values() if ref in by_ref)


def rows_of(versions: list[Version], runs: list[RunRecord]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of every table of `sql/catalog.sql`."""
    return {
        "artifacts": [_artifact(version) for version in versions],
        "artifact_inputs": [
            {**v.id, "name": name, **_prefixed("input_", ref)}
            for v in versions
            for name, ref in v.manifest.inputs.items()
        ],
        "identities": _identities(versions),
        "parts": [_part(v, part) for v in versions for part in v.manifest.parts],
        "shards": [_shard(v, shard) for v in versions for shard in v.manifest.shards],
        "reasons": [
            {**v.id, "table_name": table, "reason": reason, "count": count}
            for v in versions
            for table, counts in v.manifest.reasons.items()
            for reason, count in counts.items()
        ],
        "latest": _latest(versions, runs),
        "runs": [
            {
                "run_id": run.run_id,
                "recipe": run.recipe,
                "started_at": _utc(run.started_at),
                "status": run.status,
            }
            for run in runs
        ],
        "run_stages": [
            {"run_id": run.run_id, **ref.to_dict(), "stage": stage}
            for run in runs
            for stage, ref in run.stages.items()
        ],
    }


def _artifact(version: Version) -> dict[str, Any]:
    manifest = version.manifest
    same = ("artifact", "rows", "bytes", "wall_seconds", "device", "recipe", "run_id")
    return {
        **version.id,
        **{name: getattr(manifest, name) for name in same},
        "code_revision": manifest.code_revision,
        "code_dirty": manifest.code_dirty,
        "created_at": _utc(manifest.created_at),
        "committed_at": _utc(committed_at(version.path) or manifest.created_at),
        "path": str(version.path),
    }


def _identities(versions: Iterable[Version]) -> list[dict[str, str]]:
    """Return what decides each key; the contents of one key share it."""
    by_key = {(v.manifest.ref.stage, v.manifest.ref.key): v.manifest.identity for v in versions}
    return [
        {"stage": stage, "key": key, "identity": json.dumps(identity, sort_keys=True)}
        for (stage, key), identity in by_key.items()
    ]


def _latest(versions: list[Version], runs: list[RunRecord]) -> list[dict[str, Any]]:
    shown = latest_of_all(versions, runs)
    return [
        {"recipe": recipe, "table_name": table, **version.id, "shown": shown[table] is version}
        for (recipe, table), version in latest_by_recipe(versions, runs).items()
    ]


def _part(version: Version, part: PartInfo) -> dict[str, Any]:
    same = {name: getattr(part, name) for name in ("name", "rows", "bytes", "sha256")}
    return {
        **version.id, "table_name": part.table, **same, "path": str(version.path / part.name)
    }  # fmt: skip


def _shard(version: Version, shard: dict[str, Any]) -> dict[str, Any]:
    """Return what the worker noted of a shard; what it did not note is null."""
    began = shard.get("started_at")
    return {
        **version.id,
        "shard": shard["shard"],
        "rows": sum(shard["rows"].values()),
        "started_at": began and _utc(began),
        "seconds": shard.get("seconds"),
        "model_seconds": shard.get("model_seconds"),
        "device": shard.get("device"),
    }


def _prefixed(prefix: str, ref: ArtifactRef) -> dict[str, str]:
    return {prefix + name: value for name, value in ref.to_dict().items()}


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
