"""Which workers a run has: `Runtime.runner`."""

from __future__ import annotations

from tasks.pool import WorkerPool
from tasks.runtime import Runtime
from tasks.shard_pool import ShardPool


def open_pool(runtime: Runtime) -> ShardPool:
    """Return the workers that a runtime asks for; with Ray, its cluster is joined or started.

    Raises RayError where Ray is not installed or the cluster cannot be reached.
    """
    if runtime.runner == "processes":
        return WorkerPool(runtime)
    if runtime.runner == "local":
        from tasks.local_pool import LocalPool  # loads the stages, which other processes may do

        return LocalPool(runtime)
    from tasks.ray_pool import RayPool  # an extra

    return RayPool(runtime)
