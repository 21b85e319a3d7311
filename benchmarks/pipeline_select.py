"""The stage `select` over many synthetic scores in a real store."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.stages import runtime
from benchmarks.timing import Taken, taken
from mbpo_core.config import Recipe
from storage.identity import Identity
from storage.refs import ArtifactRef
from storage.runs import start_run
from storage.store import ArtifactStore
from storage.tables import TableSpec, as_table, schema_text
from tasks.ingest import SAMPLES
from tasks.inline import inline
from tasks.materialise import materialise
from tasks.pool import WorkerPool
from tasks.score import SCORES
from tasks.selection import Select

ROWS_PER_SHARD = 100_000
CLOSED_SHARE = 0.3


def write_scores(store: ArtifactStore, rows: int, seed: int = 0) -> dict[str, ArtifactRef]:
    """Write artifacts of `ingest` and `score` with so many rows, as those stages lay them out."""
    draw = np.random.default_rng(seed)
    ids = pa.array([hashlib.sha256(f"{seed}:{row}".encode()).hexdigest() for row in range(rows)])
    closed = pa.array(np.where(draw.random(rows) < CLOSED_SHARE, "yes_no", None))
    means, tokens = draw.normal(size=rows), draw.integers(1, 60, rows)
    samples = {"sample_id": ids, "closed_kind": closed}
    scores = {"sample_id": ids, "iig_mean": means, "iig_sum": means * tokens, "n_tokens": tokens}
    return {
        "ingest": _write(store, "ingest", SAMPLES, samples, rows),
        "score": _write(store, "score", SCORES, scores, rows),
    }


def _write(
    store: ArtifactStore, stage: str, spec: TableSpec, columns: dict[str, object], rows: int
) -> ArtifactRef:
    nothing = {field.name: pa.nulls(rows, field.type) for field in spec.schema}
    table = as_table(pa.table(nothing | columns), spec)
    identity = Identity(stage, 1, schema_text([spec]), {"synthetic": rows})
    starts = range(0, rows, ROWS_PER_SHARD)
    for shard, start in enumerate(starts):
        part = table.slice(start, ROWS_PER_SHARD)
        store.write_shard(stage, identity.key, shard, {spec.name: part})
    return store.commit(
        stage, identity.key, list(range(len(starts))), tables=[spec], identity=identity
    )


def time_select(root: Path, recipe: Recipe, rows: int, rounds: int) -> tuple[list[Taken], int]:
    """Return what the whole stage takes, from its key to its commit, and how many it chose.

    Each round computes all of it again.
    """
    how = runtime(root)
    store = ArtifactStore(how.root)
    inputs = write_scores(store, rows)
    run_id = f"select-{rows}"
    start_run(store.root, run_id, recipe.name)
    stage = Select()
    stage.identity(recipe, how, inputs)  # the code is parsed once a process
    found = []
    for _ in range(rounds):
        with WorkerPool(how) as pool, taken() as seconds:
            made = materialise(
                stage, recipe, how, inputs, pool, run_id,
                refresh=True, run_shards=inline(),
            )  # fmt: skip
        found.append(seconds)
    chosen = store.table(made.ref, "selection", ["chosen"])["chosen"].to_numpy().sum()
    return found, int(chosen)
