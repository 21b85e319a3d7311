"""Shards in this process, one after the other: for stages that no model runs in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tasks.materialise import Note, RunShards
from tasks.registry import STAGES
from tasks.requests import job_of
from tasks.stage import Stage
from tasks.worker import compute


def inline(*others: Stage) -> RunShards:
    """Return how shards are computed here; `others` are stages that no pipeline has."""
    stages = STAGES | {stage.name: stage for stage in others}

    def run(
        request: Mapping[str, Any],
        shards: Sequence[int],
        done: Callable[[dict[str, Any]], None],
        note: Note,
    ) -> None:
        for shard in shards:
            done(compute(stages[request["stage"]], job_of(dict(request), "cpu"), shard))

    return run
