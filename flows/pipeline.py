"""The flow `mbpo`: the stages in order, every shard a task run that is tried again by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from prefect import State, Task, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from flows.summary import results_table
from mbpo_core.recipes import configured
from tasks.materialise import Materialised, Note
from tasks.pipeline import Choice, run_pipeline
from tasks.pool import WorkerDiedError, WorkerPool
from tasks.registry import ORDER
from tasks.runtime import Runtime

DEPLOYMENTS: dict[str, dict[str, Any]] = {
    "full": {},
    **{stage: {"only": [stage]} for stage in ORDER},
}
"""Deployments of the one flow by name, with the defaults that make them differ."""


NOTE_SECONDS = 10.0
"""At most one line of log in so many seconds about a long shard."""


def _worth_another_try(task: Task, task_run: TaskRun, state: State) -> bool:
    """Say whether Prefect tries a shard again: a bug would only fail again."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, WorkerDiedError) or getattr(error, "transient", False)


def _shard_task(pool: WorkerPool, retries: int) -> Any:
    """Return the task that computes one shard on the next idle worker."""

    @task(
        name="shard",
        task_run_name="{stage}-{shard:04d}",
        retries=retries,
        retry_condition_fn=_worth_another_try,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    def compute(stage: str, shard: int, request: dict[str, Any], note: Note) -> dict[str, Any]:
        return pool.run(request, shard, note)

    return compute


def _submit(pool: WorkerPool, retries: int) -> Any:
    """Return how `materialise` has its shards computed: as task runs, side by side."""
    compute = _shard_task(pool, retries)

    def run_shards(
        request: dict[str, Any],
        shards: Sequence[int],
        done: Callable[[dict[str, Any]], None],
        note: Note,
    ) -> None:
        futures = [
            compute.submit(request["stage"], shard, quote(request), quote(note)) for shard in shards
        ]
        failures = []
        for future in futures:
            answer = future.result(raise_on_failure=False)
            if isinstance(answer, Exception):
                failures.append(answer)
            else:
                done(answer)
        if failures:
            raise failures[0]

    return run_shards


@flow(
    name="mbpo",
    flow_run_name="{recipe}",
    log_prints=True,
    task_runner=ThreadPoolTaskRunner(max_workers=64),  # threads wait; the workers are the limit
)
def mbpo(
    recipe: str = "mbpo",
    only: list[str] | None = None,
    start: str | None = None,
    refresh: list[str] | None = None,
    overrides: dict[str, Any] | None = None,
    limit: int | None = None,
    runtime: dict[str, Any] | None = None,
) -> dict[str, str]:
    """Run MBPO from conversations to metrics; what the store has is not computed again.

    Args:
        recipe: name of a shipped recipe, or a JSON file.
        only: just these stages; what they need must be in the store.
        start: from this stage on.
        refresh: stages to compute again even if the store has them.
        overrides: settings of the recipe by dotted key, as `{"mine.steps": 5}`.
        limit: a pilot with that many records and questions.
        runtime: how to run it (`tasks.runtime.Runtime`); changes no result.
    """
    logger = get_run_logger()
    how = Runtime.model_validate(runtime or {})
    what = configured(recipe, overrides or {}, limit)
    choice = Choice(tuple(only or ()), start, tuple(refresh or ()))

    def progress(stage: str, done: int, planned: int) -> None:
        logger.info("%s: %d of %d shards", stage, done, planned)

    def finished(stage: str, made: Materialised) -> None:
        state = "hit" if made.hit else f"{len(made.computed)} shards computed"
        logger.info("%s: %s (%s, %.1f s)", stage, made.ref.short, state, made.seconds)

    said = 0.0

    def note(text: str) -> None:
        nonlocal said
        if time.monotonic() - said > NOTE_SECONDS:
            said = time.monotonic()
            logger.info("%s", text)

    # Leaving the block ends the workers, however the flow ends: threads that wait wake up too.
    with WorkerPool(how) as pool:
        made = run_pipeline(
            what, how, choice, pool,
            progress=progress, note=note, finished=finished,
            run_shards=_submit(pool, how.retries),
        )  # fmt: skip
    print(results_table(how.root))
    return {stage: each.ref.short for stage, each in made.items()}
