"""Shards as task runs of Prefect, each tried again by itself: in threads, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prefect import State, Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.utilities.annotations import quote

from tasks.runtime import Runtime
from tasks.shard_pool import Note, ShardPool, worth_another_try

if TYPE_CHECKING:
    from tasks.materialise import RunShards


FailedTry = Callable[[str, str], None]
"""Called with the name of a shard that is tried again, and why; from any thread."""


def _untold(shard: str, why: str) -> None:
    """Tell nobody."""


@contextmanager
def shard_runner(
    runtime: Runtime, failed_try: FailedTry = _untold
) -> Iterator[tuple[ShardPool, RunShards]]:
    """Open the workers of a run, and say how `materialise` has its shards computed on them.

    On a Ray cluster tries are told where they happen, in the log of the task run, and not here.
    Leaving the block ends the workers, however the flow ends: threads that wait wake up too.
    """
    if runtime.runner == "ray":
        from flows.ray_tasks import on_ray  # an extra

        with on_ray(runtime) as opened:
            yield opened
    else:
        from tasks.runners import open_pool

        with open_pool(runtime) as pool:
            yield pool, _in_threads(pool, runtime.retries, failed_try)


def shard_task(
    compute: Callable[..., dict[str, Any]], retries: int, failed_try: FailedTry = _untold
) -> Any:
    """Return the task that computes one shard."""

    def try_again(task: Task, task_run: TaskRun, state: State) -> bool:
        error = state.result(raise_on_failure=False)
        worth = worth_another_try(error)
        if worth:
            failed_try(task_run.name, str(error))
        return worth

    return task(
        compute,
        name="shard",
        task_run_name="{stage}-{shard:04d}",
        retries=retries,
        retry_condition_fn=try_again,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


def _in_threads(pool: ShardPool, retries: int, failed_try: FailedTry) -> RunShards:
    """Return how shards are computed by the threads of the flow, which wait for the workers."""

    def compute(stage: str, shard: int, request: dict[str, Any], note: Note) -> dict[str, Any]:
        return pool.run(request, shard, note)

    shards_of = shard_task(compute, retries, failed_try)

    def run_shards(
        request: dict[str, Any],
        shards: Sequence[int],
        done: Callable[[dict[str, Any]], None],
        note: Note,
    ) -> None:
        futures = [
            shards_of.submit(request["stage"], shard, quote(request), quote(note))
            for shard in shards
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
