"""The pool of a Ray cluster behind a desk of its own, where any process of the cluster may ask.

Task runs of Prefect stand on the cluster as Ray tasks. Which GPU worker is idle, one process has to
know for all of them: this one, an actor on the node where the run was started.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from tasks import ray_cluster
from tasks.ray_pool import RayPool
from tasks.runtime import Runtime
from tasks.shard_pool import Note, ShardPool

AT_ONCE = 64
"""Shards that are asked for at the same time, at most."""
_CLOSING_SECONDS = 10.0


class Desk:
    """The actor: a `RayPool` and the newest note of any of its workers."""

    def __init__(self, runtime: dict[str, Any], folder: str) -> None:
        os.chdir(folder)
        self._pool = RayPool(Runtime.model_validate(runtime))
        self._said = ""

    def run(self, request: dict[str, Any], shard: int) -> dict[str, Any]:
        """Compute a shard on the next idle worker."""
        return self._pool.run(request, shard, self._hear)

    def width(self, request: dict[str, Any]) -> int:
        """Return how many shards are computed side by side at most."""
        return min(AT_ONCE, self._pool.width(request))

    def said(self) -> str:
        """Return the newest note and forget it."""
        text, self._said = self._said, ""
        return text

    def release(self) -> None:
        """Give back the memory of all models."""
        self._pool.release()

    def close(self) -> None:
        """End all workers."""
        self._pool.close()

    def _hear(self, text: str) -> None:
        self._said = text


class DeskPool(ShardPool):
    """The run's side of the desk."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self._owns_ray = ray_cluster.join(runtime)
        ray = self._ray = ray_cluster.ray_module()
        absolute = runtime.model_copy(update={"root": runtime.root.absolute()})
        self.desk = (
            ray.remote(Desk)
            .options(max_concurrency=AT_ONCE + 4, **beside_the_run())
            .remote(absolute.model_dump(mode="json"), str(Path.cwd()))
        )

    def run(
        self, request: dict[str, Any], shard: int, note: Note = lambda text: None
    ) -> dict[str, Any]:
        """Compute a shard on the next idle worker; raises ShardFailedError or WorkerDiedError."""
        return ask(self.desk, request, shard)

    def width(self, request: dict[str, Any]) -> int:
        """Return how many workers there may be for it."""
        return self._ray.get(self.desk.width.remote(request))

    def said(self) -> str:
        """Return the newest note of any worker, once."""
        return self._ray.get(self.desk.said.remote())

    def release(self) -> None:
        """Give back the memory of all models."""
        self._ray.get(self.desk.release.remote())

    def _end(self) -> None:
        """End all workers and the desk; a Ray that was started for this run ends too."""
        # Where it is gone or does not answer, its workers end with it.
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.get(self.desk.close.remote(), timeout=_CLOSING_SECONDS)
        self._ray.kill(self.desk)
        if self._owns_ray:
            self._ray.shutdown()


def ask(desk: Any, request: dict[str, Any], shard: int) -> dict[str, Any]:
    """Have a shard computed and return its facts; raises ShardFailedError or WorkerDiedError."""
    ray = ray_cluster.ray_module()
    try:
        return ray.get(desk.run.remote(request, shard))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None  # the pool's own error, as it would be raised here


def beside_the_run() -> dict[str, Any]:
    """Return what puts a process that only waits for others on the node of this one.

    It survives the loss of any other node, and a run does not survive the loss of its own. (Asked
    softly, Ray puts what takes no CPU on any node.)
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray_cluster.ray_module().get_runtime_context().get_node_id()
    return {
        "num_cpus": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False),
        "runtime_env": ray_cluster.project_environment(),
    }
