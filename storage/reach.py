"""Which artifacts are to stay, and why: what people and runs hold, and all that it was made from.

A pure function of manifests, run records and tags, so that it can be tested against another one.
"""

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from storage.manifest import Manifest
from storage.refs import CONTENT_IN_NAME, ArtifactRef
from storage.runs import RunRecord
from storage.tags import Tag

Holds = dict[ArtifactRef, tuple[str, ...]]
"""Artifacts that stay, each with the reasons in words."""

# A model may be named by its folder in the store: a checkpoint that is evaluated by itself.
_FOLDER = re.compile(r"artifacts/([a-z][a-z0-9_]*)/([0-9a-f]+)\.([0-9a-f]+)")


@dataclass(frozen=True)
class Policy:
    """What stays besides what is tagged or in use."""

    keep_runs: int = 3
    """The newest runs of each recipe, and the newest of them that completed."""
    older_than: timedelta | None = None
    """Younger artifacts stay whatever else is true of them."""
    irreplaceable: Callable[[Manifest], str | None] = lambda manifest: None
    """Says why no run could make an artifact again; None for all others."""

    def __post_init__(self) -> None:
        """Refuse to keep no run at all."""
        if self.keep_runs < 1:
            raise ValueError(f"keep at least one run of each recipe, got {self.keep_runs}")


def holds(
    versions: Mapping[ArtifactRef, tuple[Manifest, datetime]],
    runs: Iterable[RunRecord],
    tags: Iterable[Tag],
    running: Iterable[str],
    policy: Policy,
    now: datetime,
) -> Holds:
    """Return what stays and why.

    Args:
        versions: every artifact with its manifest and when it was last committed (UTC).
        runs: all records, the oldest first.
        tags: all tags.
        running: ids of the runs that a process works on.
        policy: see there.
        now: UTC.
    """
    places = {folder_of(ref): ref for ref in versions}
    found: dict[ArtifactRef, list[str]] = {}

    def hold(ref: ArtifactRef, why: str) -> None:
        if ref in versions and why not in found.setdefault(ref, []):
            found[ref].append(why)

    for run, why in _held_runs(list(runs), tags, set(running), policy):
        for ref in [*run.stages.values(), *_mentioned(run.settings, places)]:
            hold(ref, why)
    for tag in tags:
        if tag.ref:
            hold(tag.ref, f"tag {tag.name}")
    for ref, (manifest, committed) in versions.items():
        if policy.older_than is not None and now - committed < policy.older_than:
            hold(ref, f"younger than {policy.older_than.total_seconds() / 86_400:g} days")
        if (why := policy.irreplaceable(manifest)) is not None:
            hold(ref, why)
    _spread(found, {ref: needs(manifest, places) for ref, (manifest, _) in versions.items()}, hold)
    return {ref: tuple(whys) for ref, whys in found.items()}


def needs(manifest: Manifest, places: Mapping[str, ArtifactRef]) -> list[ArtifactRef]:
    """Return what an artifact was made from, of what is there."""
    there = set(places.values())
    inputs = [ref for ref in manifest.inputs.values() if ref in there]
    return [*inputs, *_mentioned(manifest.identity, places)]


def folder_of(ref: ArtifactRef) -> str:
    """Return an artifact's folder as others mention it, relative to the root."""
    return f"artifacts/{ref.stage}/{ref.directory}"


def _held_runs(
    runs: list[RunRecord], tags: Iterable[Tag], running: set[str], policy: Policy
) -> Iterable[tuple[RunRecord, str]]:
    tagged = {tag.run_id: tag.name for tag in tags if tag.run_id}
    for run in runs:
        if run.run_id in tagged:
            yield run, f"tag {tagged[run.run_id]}"
        if run.run_id in running:
            yield run, f"run {run.run_id} is in progress"
    for recipe in dict.fromkeys(run.recipe for run in runs):
        mine = [run for run in runs if run.recipe == recipe]
        whole = [run for run in mine if run.status == "completed"]
        kept = {
            run.run_id: run for run in [*mine[-policy.keep_runs :], *whole[-policy.keep_runs :]]
        }
        for run in kept.values():
            yield run, f"run {run.run_id}, of the last {policy.keep_runs} of {recipe}"


def _mentioned(value: Any, places: Mapping[str, ArtifactRef]) -> list[ArtifactRef]:
    """Return the artifacts whose folders a recipe or an identity names, wherever the store lay."""
    text = json.dumps(value)
    folders = (
        f"artifacts/{stage}/{key}.{content[:CONTENT_IN_NAME]}"
        for stage, key, content in _FOLDER.findall(text)
    )
    return [places[folder] for folder in folders if folder in places]


def _spread(
    found: Mapping[ArtifactRef, list[str]],
    edges: Mapping[ArtifactRef, list[ArtifactRef]],
    hold: Callable[[ArtifactRef, str], None],
) -> None:
    """Hold the inputs of what is held, transitively; one that is held anyway says no more."""
    waiting = deque(found)
    seen = set(waiting)
    while waiting:
        ref = waiting.popleft()
        for needed in edges[ref]:
            if needed not in seen:
                hold(needed, f"input of {ref.short}")
                seen.add(needed)
                waiting.append(needed)
