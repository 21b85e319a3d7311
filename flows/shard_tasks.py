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


@contextmanager
def shard_runner(runtime: Runtime) -> Iterator[tuple[ShardPool, RunShards]]:
    """Open the workers of a run, and say how `materialise` has its shards computed on them.

    Leaving the block ends the workers, however the flow ends: threads that wait wake up too.
    """
    if runtime.runner == "ray":
        from flows.ray_tasks import on_ray  # an extra

        with on_ray(runtime) as opened:
            yield opened
    else:
        from tasks.runners import open_pool

        with open_pool(runtime) as pool:
            yield pool, _in_threads(pool, runtime.retries)


def shard_task(compute: Callable[..., dict[str, Any]], retries: int) -> Any:
    """Return the task that computes one shard."""
    return task(
        compute,
        name="shard",
        task_run_name="{stage}-{shard:04d}",
        retries=retries,
        retry_condition_fn=_try_again,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


def _try_again(task: Task, task_run: TaskRun, state: State) -> bool:
    """Say whether Prefect tries a shard again."""
    return worth_another_try(state.result(raise_on_failure=False))


def _in_threads(pool: ShardPool, retries: int) -> RunShards:
    """Return how shards are computed by the threads of the flow, which wait for the workers."""

    def compute(stage: str, shard: int, request: dict[str, Any], note: Note) -> dict[str, Any]:
        return pool.run(request, shard, note)

    shards_of = shard_task(compute, retries)

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
