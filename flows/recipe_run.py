"""What the flow does: one recipe, its stages in order, told to the run's log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from prefect import get_run_logger

from flows.prefect_page import RunPage
from flows.shard_tasks import shard_runner
from flows.summary import results_table
from mbpo_core.recipes import configured
from storage.store import ArtifactStore
from tasks.materialise import Materialised
from tasks.pipeline import Choice, run_pipeline
from tasks.runtime import Runtime

NOTE_SECONDS = 10.0
"""At most one line of log in so many seconds about a long shard."""


def run_recipe(
    recipe: str,
    only: list[str] | None,
    start: str | None,
    refresh: list[str] | None,
    retry: list[str] | None,
    overrides: dict[str, Any] | None,
    limit: int | None,
    runtime: dict[str, Any] | None,
) -> dict[str, str]:
    """Run a recipe inside of a flow; the arguments are those of the flow `mbpo`."""
    logger = get_run_logger()
    how = Runtime.model_validate(runtime or {})
    what = configured(recipe, overrides or {}, limit)
    choice = Choice(tuple(only or ()), start, tuple(refresh or ()), tuple(retry or ()))
    page = RunPage(ArtifactStore(how.root), what.name, logger)
    page.tags([what.name, *(only or ()), *(["pilot"] if limit else [])])

    def progress(stage: str, done: int, planned: int) -> None:
        logger.info("%s: %d of %d shards", stage, done, planned)
        page.progress(stage, done, planned)

    def finished(stage: str, made: Materialised) -> None:
        state = "hit" if made.hit else f"{len(made.computed)} shards computed"
        logger.info("%s: %s (%s, %.1f s)", stage, made.ref.short, state, made.seconds)
        page.finished(stage, made)

    try:
        with shard_runner(how, page.failed_try) as (pool, run_shards):
            made = run_pipeline(
                what, how, choice, pool,
                progress=progress, note=_now_and_then(logger.info), finished=finished,
                run_shards=run_shards,
            )  # fmt: skip
    finally:
        page.tried_again()
    page.completed({stage: each.ref for stage, each in made.items()})
    print(results_table(how.root))
    return {stage: each.ref.short for stage, each in made.items()}


def _now_and_then(say: Callable[[str, str], None]) -> Callable[[str], None]:
    said = 0.0

    def note(text: str) -> None:
        nonlocal said
        if time.monotonic() - said > NOTE_SECONDS:
            said = time.monotonic()
            say("%s", text)

    return note
