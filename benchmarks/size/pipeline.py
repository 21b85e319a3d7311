"""The flow `mbpo` on the stub's workers; `deployments.launch run --package benchmarks.size`."""

from __future__ import annotations

from typing import Any

from prefect import flow

import flows.pipeline
import tasks.pool

DEPLOYMENTS: dict[str, dict[str, Any]] = {"full": {}}


@flow(
    name="mbpo",
    flow_run_name="{recipe}",
    log_prints=True,
    task_runner=flows.pipeline.mbpo.task_runner.duplicate(),
)
def mbpo(
    recipe: str = "mbpo",
    only: list[str] | None = None,
    start: str | None = None,
    refresh: list[str] | None = None,
    retry: list[str] | None = None,
    overrides: dict[str, Any] | None = None,
    limit: int | None = None,
    runtime: dict[str, Any] | None = None,
) -> dict[str, str]:
    """Run the project's own flow function; only the workers are others."""
    tasks.pool.WORKER = "benchmarks.size.worker"
    return flows.pipeline.mbpo.fn(
        recipe, only, start, refresh, retry, overrides=overrides, limit=limit, runtime=runtime
    )
