"""Where everything comes from: artifacts, models, data, versions, settings, commands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from storage.manifest import Manifest
from tasks.failures import FAILURES
from tasks.report.recipe import commands, shareable
from tasks.report.sources import Section, Sources, not_there

CONTENT = 12
"""Characters of a hash that are shown."""


def provenance(sources: Sources, facts: Mapping[str, Mapping[str, str]]) -> Section:
    """Return artifacts and settings; `facts` by stage are what only the machine knows.

    Such as seconds and device: a page that is an artifact has none of it.
    """
    name, title = "provenance", "Provenance"
    if not sources.refs:
        return not_there(name, title, "artifact")
    manifests = {stage: sources.manifest(stage) for stage in FAILURES if stage in sources.refs}
    settings = shareable(sources.settings)
    content = {
        "artifacts": [_artifact(stage, manifest) | {"facts": facts.get(stage, {})}
                      for stage, manifest in manifests.items()],
        "facts": sorted({name for each in facts.values() for name in each}),
        "libraries": _versions(manifests),
        "models": _named(manifests, "models"),
        "data": _outside(manifests),
        "settings": json.dumps(settings, indent=1, sort_keys=True) if settings else "",
        "commands": _commands(sources, settings),
    }  # fmt: skip
    return Section(name, title, len(manifests), content=content)


def _artifact(stage: str, manifest: Manifest) -> dict[str, Any]:
    return {
        "stage": stage, "ref": manifest.ref.short, "content": manifest.ref.content[:CONTENT],
        "tables": ", ".join(manifest.tables), "rows": manifest.rows, "bytes": manifest.bytes,
        "inputs": ", ".join(manifest.inputs),
    }  # fmt: skip


def _versions(manifests: Mapping[str, Manifest]) -> list[tuple[str, str]]:
    """Return the libraries that changed numbers; two versions of one where stages differ."""
    found: dict[str, set[str]] = {}
    for manifest in manifests.values():
        for library, version in manifest.identity.get("libraries", {}).items():
            found.setdefault(library, set()).add(str(version))
    return [(name, ", ".join(sorted(versions))) for name, versions in sorted(found.items())]


def _named(manifests: Mapping[str, Manifest], part: str) -> list[tuple[str, str, str]]:
    """Return (role, fingerprint, stages) of the models."""
    found: dict[tuple[str, str], list[str]] = {}
    for stage, manifest in manifests.items():
        for role, identity in manifest.identity.get(part, {}).items():
            found.setdefault((role, str(shareable(identity))), []).append(stage)
    return [(role, identity, ", ".join(stages)) for (role, identity), stages in found.items()]


def _outside(manifests: Mapping[str, Manifest]) -> list[tuple[str, str, str]]:
    """Return (stage, name, content hash) of what was read from outside of the store."""
    return [
        (stage, str(shareable(name)), str(content)[:CONTENT])
        for stage, manifest in manifests.items()
        for name, content in manifest.identity.get("inputs", {}).items()
        if name not in manifest.inputs
    ]


def _commands(sources: Sources, settings: Mapping[str, Any]) -> list[str]:
    made = commands(sources.recipe, settings)
    last = [stage for stage in FAILURES if stage in sources.refs][-1]
    show = [
        f"mbpo show {sources.refs[last].short}",
        "mbpo sql 'select * from artifacts order by created_at'",
    ]
    return [*made, *show, *(["mbpo report"] if made else [])]
