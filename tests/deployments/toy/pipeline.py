"""The shape of the real pipeline with stages that sleep or fail on request."""

import logging
import time
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

STAGES = ("ingest", "mine")
DEPLOYMENTS: dict[str, dict[str, Any]] = {
    "full": {},
    "ingest": {"only": ["ingest"]},
    "mine": {"only": ["mine"], "overrides": {"shards": 2}},
}


@task(cache_policy=NO_CACHE, persist_result=False)
def work(stage: str, overrides: dict[str, Any]) -> None:
    logging.getLogger("tasks.toy").info("working on %s", stage)
    time.sleep(overrides.get("sleep", 0))
    if overrides.get("fail") == stage:
        raise RuntimeError(f"asked to fail in {stage}")


@flow(name="mbpo", log_prints=True)
def mbpo(
    recipe: str = "mbpo",
    only: list[str] | None = None,
    start: str | None = None,
    refresh: list[str] | None = None,
    overrides: dict[str, Any] | None = None,
    limit: int | None = None,
    runtime: dict[str, Any] | None = None,
) -> dict[str, Any]:
    for stage in only or STAGES:
        work.with_options(task_run_name=stage)(stage, overrides or {})
    print(f"the results of {recipe}")
    return {"recipe": recipe}
