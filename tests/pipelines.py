"""Small runs of the whole pipeline for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mbpo_core.config import Recipe
from mbpo_core.recipes import configured, load_recipe
from storage.store import ArtifactStore
from tasks.materialise import Materialised
from tasks.pipeline import Choice, run_pipeline
from tasks.runners import open_pool
from tasks.runtime import Runtime

SMALL: dict[str, Any] = {
    "ingest.source.scenes": 6,
    "ingest.shard_rows": 20,
    "score.shard_rows": 20,
    "select.k": 8,
    "mine.steps": 2,
    "mine.shard_rows": 3,
    "respond.shard_rows": 4,
    "respond.max_new_tokens": 16,
    "pair.max_online": 6,
    "train.max_steps": 2,
    "train.groups_per_step": 4,
    "train.micro_batch_groups": 4,
    "train.objective.max_new_tokens": 12,
    "train.objective.generations": 3,
    "train.stream_norm_every": 1,
    "train.probe_every": 1,
    "train.probe_groups": 4,
    "evaluate.limit": 7,
    "answer.shard_rows": 5,
    "evaluate.shard_rows": 6,
    "answer.max_new_tokens": 16,
}
"""What makes the embedded recipe a matter of seconds, with several shards in most stages."""


def small_recipe(**changes: Any) -> Recipe:
    """Return the embedded recipe in small; `changes` use `__` for dots."""
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return configured("mbpo", SMALL | dotted)


def small(name: str, changes: dict[str, Any] | None = None) -> Recipe:
    """Return any embedded recipe in small."""
    return configured(name, small_settings(name) | (changes or {}))


def small_settings(name: str) -> dict[str, Any]:
    """Return of `SMALL` what an embedded recipe has settings for."""
    whole = load_recipe(name).model_dump(mode="json")
    return {dotted: value for dotted, value in SMALL.items() if _stands(whole, dotted)}


def _stands(settings: Any, dotted: str) -> bool:
    for part in dotted.split("."):
        if part not in settings:
            return False
        settings = settings[part]
    return True


def runtime(root: Path, workers: int = 1, **changes: Any) -> Runtime:
    """Return how to run it on the CPU."""
    return Runtime(root=root, devices=("cpu",), workers=workers, **changes)


def run(
    recipe: Recipe, how: Runtime, choice: Choice | None = None, **options: Any
) -> dict[str, Materialised]:
    """Run stages with workers of their own."""
    with open_pool(how) as pool:
        return run_pipeline(recipe, how, choice or Choice(), pool, **options)


def rows(root: Path, stage: str, table: str) -> list[dict[str, Any]]:
    """Return all rows of a table of the newest version of a stage."""
    store = ArtifactStore(root)
    return store.table(store.resolve(stage), table).to_pylist()
