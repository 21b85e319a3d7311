"""A run that is to be tried again: its recipe, its stages, and what became of its rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mbpo_core.config import Recipe
from storage.reopen import staged_reasons
from storage.runs import RunRecord
from storage.store import ArtifactStore
from tasks.order import ORDER, Choice
from tasks.registry import STAGES
from tasks.retry import STATUSES, Counts, matches, reasons_of
from tasks.runtime import Runtime


@dataclass(frozen=True)
class Before:
    """A run that is to be tried again."""

    run: RunRecord
    recipe: Recipe
    choice: Choice
    counts: Mapping[str, Counts]
    """By stage: of its artifact, or of the staged shards where the run got no further."""


def look_back(
    runtime: Runtime, run: RunRecord, statuses: Collection[str], only: Collection[str] = ()
) -> Before:
    """Return how a run is tried again: the stages that it had, or all where it was not completed.

    Raises ValueError where no row has such a status, naming those that there are.
    """
    store, recipe = ArtifactStore(runtime.root), Recipe.model_validate(run.settings)
    counts: dict[str, Counts] = {
        stage: store.manifest(ref).reasons for stage, ref in run.stages.items()
    }
    if run.status != "completed":
        counts |= _half_built(store, recipe, runtime, run)
    asked = {stage: found for stage, found in counts.items() if not only or stage in only}
    known = sorted(set(reasons_of(asked.values())))
    if not any(matches(reason, statuses) for reason in known):
        raise ValueError(
            f"no row of run {run.run_id} has the status {' or '.join(statuses)}; there are: "
            f"{', '.join(known) or 'none'} (and {', '.join(STATUSES)} for several at once)"
        )
    ended = run.status == "completed"
    stages = tuple(only) or (tuple(name for name in ORDER if name in run.stages) if ended else ())
    return Before(run, recipe, Choice(only=stages, retry=tuple(statuses)), counts)


def _half_built(
    store: ArtifactStore, recipe: Recipe, runtime: Runtime, run: RunRecord
) -> dict[str, Counts]:
    """Return what is staged of the stage that a run did not get through."""
    for name in (each for each in ORDER if each not in run.stages):
        stage = STAGES[name]
        if set(stage.upstream(recipe)) <= set(run.stages):
            inputs = {each: run.stages[each] for each in stage.upstream(recipe)}
            key = stage.identity(recipe, runtime, inputs).key
            return {name: staged_reasons(store, name, key)}
    return {}
