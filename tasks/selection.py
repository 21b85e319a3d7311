"""select -> selection: random pre-selection, then the samples whose answers need the picture."""

from __future__ import annotations

import pyarrow as pa

from mbpo_core.selection import Scored, select
from storage.store import Coverage
from storage.tables import TableSpec
from tasks.rows import read
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
    """Top k by image information gain; the rule is `mbpo_core.selection`."""

    name = "select"
    inputs = ("ingest", "score")
    tables = (SELECTION,)
    libraries = ("pyarrow",)

    def shards(self, job: Job) -> int:
        """Ranking needs all rows: one shard."""
        return 1

    def run(self, job: Job, shard: int) -> ShardRows:
        """Rank all samples."""
        config = job.recipe.select
        samples = _samples(job)
        scores = {
            row["sample_id"]: row
            for row in read(
                job.store, job.inputs["score"], "scores", ["sample_id", "iig_mean", "iig_sum"]
            )
        }
        scored = [
            Scored(i, closed, scores[i]["iig_mean"], scores[i]["iig_sum"])
            for i, closed in samples.items()
        ]
        chosen = select(
            scored, seed=config.seed, presample=config.presample, k=config.k, key=config.key
        )
        rows = [
            {
                "sample_id": choice.sample_id,
                "chosen": choice.chosen,
                "rank": choice.rank,
                "key": config.key,
                "value": scores[choice.sample_id][config.key],
                "reason": choice.reason,
            }
            for choice in chosen
        ]
        return ShardRows({"selection": rows})

    def coverage(self, job: Job) -> list[Coverage]:
        """Every readable sample is chosen or says why not."""
        return [Coverage("selection", "sample_id", list(_samples(job)), unique=True)]


def _samples(job: Job) -> dict[str, bool]:
    """Return whether each readable sample is closed-ended, in the order of the samples."""
    rows = read(job.store, job.inputs["ingest"], "samples", ["sample_id", "closed_kind", "reason"])
    return {row["sample_id"]: row["closed_kind"] is not None
            for row in rows if row["reason"] is None}  # fmt: skip
