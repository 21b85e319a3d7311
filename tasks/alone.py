"""A stage outside of the pipeline, made in this process and recorded as a run of its own."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from mbpo_core.recipes.measuring import measuring
from storage.catalog import rebuild_catalog
from storage.refs import ArtifactRef
from storage.runs import finish_run, in_progress, start_run
from storage.store import ArtifactStore
from tasks.inline import inline
from tasks.materialise import materialise
from tasks.pool import WorkerPool
from tasks.runtime import Runtime
from tasks.stage import Stage


def make_alone(stage: Stage, root: Path, inputs: Mapping[str, ArtifactRef]) -> ArtifactRef:
    """Make a stage that depends on no recipe and on nothing but `inputs`; return its artifact."""
    store, runtime = ArtifactStore(root), Runtime(root=root, devices=("cpu",))
    run_id = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:6]
    with in_progress(store.root, run_id), store.holding(inputs.values()):
        start_run(store.root, run_id, stage.name)
        status = "failed"
        try:
            with WorkerPool(runtime) as pool:  # nobody of it is asked
                made = materialise(
                    stage, measuring([], answer={}, evaluate={}), runtime, inputs, pool, run_id,
                    run_shards=inline(stage),
                )  # fmt: skip
            status = "completed"
        finally:
            finish_run(store.root, run_id, status)
            rebuild_catalog(store)
    return made.ref
