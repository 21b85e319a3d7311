"""The Ray cluster of a run: joined where there is one, else started on this machine."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

from tasks.pool import environment
from tasks.runtime import Runtime

LOCAL_OBJECT_STORE_BYTES = 100 * 1024**2
"""Only requests and facts go through it; what is large, lies in the artifact store."""


class RayMissingError(RuntimeError):
    """Ray is not installed, or its cluster cannot be reached."""


def ray_module() -> ModuleType:
    """Return Ray, an extra; raises RayMissingError without it."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise RayMissingError("runner=ray needs Ray: pip install 'mbpo[ray]'") from error
    return ray


def join(runtime: Runtime) -> bool:
    """Connect this process to the runtime's cluster; returns False if it was connected before.

    Raises RayMissingError. Who gets True calls `ray.shutdown` at the end.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray = ray_module()
    if ray.is_initialized():
        return False
    here = runtime.ray_address is None
    options: dict[str, Any] = {"object_store_memory": LOCAL_OBJECT_STORE_BYTES} if here else {}
    try:
        ray.init(
            address="local" if here else runtime.ray_address,
            log_to_driver=False, include_dashboard=False if here else None,
            **options,
        )  # fmt: skip
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise RayMissingError(
            f"no Ray at {runtime.ray_address or 'this machine'}: {error}"
        ) from error
    return True


def resources(what: str) -> list[float]:
    """Return how much of `CPU` or `GPU` each living node has."""
    nodes = ray_module().nodes()
    return [node["Resources"].get(what, 0.0) for node in nodes if node["Alive"]]


def project_environment(**more: str) -> dict[str, Any]:
    """Return the runtime environment in which workers find the project as this process does.

    Settings of libraries that decide where models are looked for go along, and `more`; no others.
    """
    variables = environment()
    kept = [name for name in variables if name.startswith(("HF_", "TRANSFORMERS_"))]
    named = ("PYTHONPATH", "TOKENIZERS_PARALLELISM", *kept)
    return {"env_vars": {name: variables[name] for name in named} | more}
