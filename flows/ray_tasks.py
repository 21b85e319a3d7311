"""Shards as task runs on a Ray cluster, by prefect-ray's task runner.

A task run is a Ray task that takes no CPU: it stands on the node of the flow, asks the desk
(`tasks.ray_desk`) for a worker and waits. So its states are those of any Prefect task, also when
the worker dies with its node: Prefect tries again, and the desk has another worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ray
from prefect_ray import RayTaskRunner
from prefect_ray.context import remote_options

from flows.shard_tasks import shard_task
from tasks.ray_desk import DeskPool, ask, beside_the_run
from tasks.runtime import Runtime
from tasks.shard_pool import Note, ShardPool, WorkerDiedError

if TYPE_CHECKING:
    from tasks.materialise import RunShards

NOTE_SECONDS = 1.0
"""How often it is asked what a long shard is at."""


@contextmanager
def on_ray(runtime: Runtime) -> Iterator[tuple[ShardPool, RunShards]]:
    """Join the cluster, or start Ray, and open its workers; see `shard_runner`."""
    with DeskPool(runtime) as pool, RayTaskRunner() as runner:  # Ray runs: it takes that one
        yield pool, _on_cluster(pool, runner, runtime.retries)


def _on_cluster(pool: DeskPool, runner: RayTaskRunner[Any], retries: int) -> RunShards:
    def run_shards(
        request: dict[str, Any],
        shards: Sequence[int],
        done: Callable[[dict[str, Any]], None],
        note: Note,
    ) -> None:
        desk = pool.desk

        # Ray carries this function over by value: what it needs, it has or calls.
        def compute(stage: str, shard: int) -> dict[str, Any]:
            return ask(desk, request, shard)

        shards_of = shard_task(compute, retries)
        # No more are on the cluster than have a worker, and one to follow: thousands that wait
        # would each be a process.
        waiting, at_once = deque(shards), pool.width(request) + 1
        running: dict[Any, Any] = {}
        failures: list[BaseException] = []
        while waiting or running:
            while waiting and len(running) < at_once:
                shard = {"stage": request["stage"], "shard": waiting.popleft()}
                with remote_options(**beside_the_run()):
                    future = runner.submit(shards_of, shard)
                running[future.wrapped_future] = future
            ready, _ = ray.wait(list(running), timeout=NOTE_SECONDS)
            for answer in [_answer(running.pop(reference)) for reference in ready]:
                if isinstance(answer, BaseException):
                    failures.append(answer)
                else:
                    done(answer)
            if not ready and (text := pool.said()):
                note(text)
        if failures:
            raise failures[0]

    return run_shards


def _answer(future: Any) -> dict[str, Any] | BaseException:
    """Return the facts of a shard, or the error that it ended with."""
    try:
        return future.result(raise_on_failure=False)
    except ray.exceptions.RayError as error:  # its own process is gone, not only the worker's
        return WorkerDiedError(f"the task run ended without an answer: {error}")
