"""The flow `mbpo`: the stages in order, every shard a task run that is tried again by itself."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.run_names import run_name
from tasks.registry import ORDER

DEPLOYMENTS: dict[str, dict[str, Any]] = {
    "full": {},
    **{stage: {"only": [stage]} for stage in ORDER},
}
"""Deployments of the one flow by name, with the defaults that make them differ."""


@flow(
    name="mbpo",
    flow_run_name=run_name,
    log_prints=True,
    task_runner=ThreadPoolTaskRunner(max_workers=64),  # threads wait; the workers are the limit
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
    """Run MBPO from conversations to metrics; what the store has is not computed again.

    Args:
        recipe: name of a shipped recipe, or a JSON file.
        only: just these stages; what they need must be in the store.
        start: from this stage on.
        refresh: stages to compute again even if the store has them.
        retry: try rows again that have such a status, as `["oom", "bad_image"]`.
        overrides: settings of the recipe by dotted key, as `{"mine.steps": 5}`.
        limit: a pilot with that many records and questions.
        runtime: how to run it (`tasks.runtime.Runtime`); changes no result.
    """
    # Here, not above: Ray carries the flow over to each of its task runs, which wait for shards and
    # have no use for what computes them.
    from flows.recipe_run import run_recipe

    return run_recipe(recipe, only, start, refresh, retry, overrides, limit, runtime)
