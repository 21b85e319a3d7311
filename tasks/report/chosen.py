"""A page drawn at once: of a run, finished or not, or of one artifact and what it was made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbpo_core.config import ReportConfig
from storage.refs import ArtifactRef
from storage.runs import RunRecord, read_runs
from storage.store import ArtifactStore
from tasks.failures import FAILURES
from tasks.report.page import Moment, Page, draw
from tasks.report.sources import Sources

REVISION = 12
"""Characters of a commit that are shown."""


@dataclass(frozen=True)
class Chosen:
    """What a page is drawn of."""

    name: str
    """Of the file."""
    said: str
    """In words, for the top of the page."""
    refs: Mapping[str, ArtifactRef]
    recipe: str
    settings: Mapping[str, Any]


def draw_chosen(root: Path, text: str | None = None) -> tuple[Page, str]:
    """Return the page of the latest run, or of what `text` names, and a name for its file.

    `text` is the beginning of a run's id, or an artifact as in `ArtifactStore.resolve`. Stages that
    a run did not compute are those that its artifacts were made from; what is not there yet is said
    to be missing. Raises ValueError where there is no run, StoreError for an unknown artifact.
    """
    store = ArtifactStore(root)
    chosen = choose(store, text)
    sources = Sources(store, chosen.refs, chosen.recipe, chosen.settings)
    sizes = ReportConfig.model_validate(chosen.settings.get("report", {}))
    moment = Moment(chosen.said, {stage: _facts(sources, stage) for stage in chosen.refs})
    return draw(sources, sizes, moment), chosen.name


def choose(store: ArtifactStore, text: str | None) -> Chosen:
    """Return what is meant; see `draw_chosen`."""
    runs = read_runs(store.root)
    if text is None:
        if not runs:
            raise ValueError(f"no run in {store.root}; make one with `mbpo run`")
        return _of_run(store, runs[-1])
    named = [run for run in runs if run.run_id.startswith(text)]
    if named:
        if len(named) > 1 and named[-1].run_id != text:
            raise ValueError(f"{text!r} could be any of: {', '.join(r.run_id for r in named)}")
        return _of_run(store, named[-1])
    return _of_artifact(store, store.resolve(text), runs)


def _of_run(store: ArtifactStore, run: RunRecord) -> Chosen:
    said = f"Run {run.run_id}: {run.status}, begun {run.started_at[:19]} UTC."
    return Chosen(run.run_id, said, _with_inputs(store, run.stages.values()), run.recipe,
                  run.settings)  # fmt: skip


def _of_artifact(store: ArtifactStore, ref: ArtifactRef, runs: list[RunRecord]) -> Chosen:
    used = [run for run in runs if ref in run.stages.values()]
    settings = used[-1].settings if used else {}
    said = f"The artifact {ref.short} and what it was made from."
    recipe = store.manifest(ref).recipe
    return Chosen(ref.short.replace("/", "-"), said, _with_inputs(store, [ref]), recipe, settings)


def _with_inputs(store: ArtifactStore, refs: Iterable[ArtifactRef]) -> dict[str, ArtifactRef]:
    """Return artifacts and all that they were made from by stage, in the order of the stages."""
    found: dict[str, ArtifactRef] = {}
    waiting = list(refs)
    while waiting:
        ref = waiting.pop(0)
        if found.setdefault(ref.stage, ref) == ref:
            waiting += [made for made in store.manifest(ref).inputs.values()
                        if made.stage not in found]  # fmt: skip
    return {stage: found[stage] for stage in FAILURES if stage in found and stage != "report"}


def _facts(sources: Sources, stage: str) -> dict[str, str]:
    manifest = sources.manifest(stage)
    changed = ", changed" if manifest.code_dirty else ""
    return {
        "seconds": f"{manifest.wall_seconds:.1f}",
        "device": manifest.device or "–",
        "code": f"{manifest.code_revision[:REVISION] or 'unknown'}{changed}",
    }
