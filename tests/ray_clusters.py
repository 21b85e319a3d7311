"""Real Ray clusters of two nodes on this machine, and runs on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SHARDED = ("score", "mine", "respond", "answer")
"""Stages that run a model in several shards."""
STORE_BYTES = 80 * 1024**2


@contextmanager
def two_nodes(folder: Path, **second: Any) -> Iterator[tuple[Any, Any]]:
    """Start a head and a second node with a CPU each; yields the cluster and the second node.

    `second` are further resources of the second node.
    """
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),  # not in the home folder of who tests
        "RAY_worker_niceness": "0",  # else they starve beside whatever else this machine does
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    (folder / "token").write_text("of the tests alone")
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        cluster.add_node(
            num_cpus=1, num_gpus=0, object_store_memory=STORE_BYTES, include_dashboard=False
        )
        ray.init(address=cluster.address, log_to_driver=False)
        other = cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, **second)
        cluster.wait_for_nodes()
        yield cluster, other
    finally:
        ray.shutdown()
        cluster.shutdown()
