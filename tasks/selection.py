"""select -> selection: random pre-selection, then the samples whose answers need the picture."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from storage.selection import QUERIES, selection_table
from storage.store import Coverage
from storage.tables import TableSpec
from tasks.stage import Job, ShardRows, Stage

SELECTION = TableSpec(
    "selection",
    pa.schema(
        [
            ("sample_id", pa.string()),
            ("chosen", pa.bool_()),
            ("rank", pa.int32()),
            ("key", pa.string()),
            ("value", pa.float64()),
            ("reason", pa.string()),
        ]
    ),
)


class Select(Stage):
    """Top k by image information gain; the rule is `mbpo_core.selection`, run as a query."""

    name = "select"
    inputs = ("ingest", "score")
    tables = (SELECTION,)
    seeded = False
    libraries = ("pyarrow", "duckdb")
    queries = QUERIES

    def shards(self, job: Job) -> int:
        """Ranking needs all rows: one shard."""
        return 1

    def run(self, job: Job, shard: int) -> ShardRows:
        """Rank all samples."""
        config = job.recipe.select
        columns = ["sample_id", "iig_mean", "iig_sum"]
        scores = job.store.table(job.inputs["score"], "scores", columns)
        rows = selection_table(
            _samples(job, everything=config.pool == "all"), scores,
            seed=config.seed, presample=config.presample, k=config.k, key=config.key,
        )  # fmt: skip
        return ShardRows({"selection": rows})

    def coverage(self, job: Job) -> list[Coverage]:
        """Every scored sample, so every readable one, is chosen or says why not."""
        scored = job.store.table(job.inputs["score"], "scores", ["sample_id"])["sample_id"]
        return [Coverage("selection", "sample_id", scored, unique=True)]


def _samples(job: Job, *, everything: bool) -> pa.Table:
    """Return whether each sample is left to the online set; unreadable ones have no score."""
    samples = job.store.table(job.inputs["ingest"], "samples", ["sample_id", "closed_kind"])
    closed = pc.and_(pc.is_valid(samples["closed_kind"]), not everything)
    return pa.table({"sample_id": samples["sample_id"], "closed": closed})
