"""score -> scores: image information gain of every readable sample (eq. 4)."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa

from mbpo_core.config import Model, Recipe
from mbpo_core.information_gain import GainRow, information_gain
from storage.store import Coverage
from storage.tables import TableSpec
from tasks.models import open_policy
from tasks.queries import COLUMNS, prompted_all, run_rows
from tasks.rows import chunk, fetch, read
from tasks.stage import Job, ShardRows, Stage, slices

SCORES = TableSpec(
    "scores",
    pa.schema(
        [
            ("sample_id", pa.string()),
            ("token_logps", pa.list_(pa.float32())),
            ("blank_token_logps", pa.list_(pa.float32())),
            ("iig_sum", pa.float64()),
            ("iig_mean", pa.float64()),
            ("n_tokens", pa.int32()),
            ("reason", pa.string()),
        ]
    ),
)


class Score(Stage):
    """Log-probabilities of every response under its image and under the blank image."""

    name = "score"
    inputs = ("ingest",)
    tables = (SCORES,)

    def models(self, recipe: Recipe) -> dict[str, Model]:
        """Return the scorer."""
        return {"scorer": recipe.scorer}

    def shards(self, job: Job) -> int:
        """Return one shard for every `shard_rows` samples."""
        return len(slices(len(_ids(job)), job.recipe.score.shard_rows))

    def run(self, job: Job, shard: int) -> ShardRows:
        """Score one run of samples."""
        config = job.recipe.score
        ids = chunk(_ids(job), config.shard_rows, shard)
        samples = fetch(job.store, job.inputs["ingest"], "samples", ids, COLUMNS)
        policy = open_policy(job.recipe.scorer, job.device)
        rows, splits = run_rows(
            prompted_all(policy, ids, samples, config.max_length),
            config.batch_tokens,
            lambda pack: [_row(gain) for gain in information_gain(policy, pack)],
            by_image=True,
        )
        return ShardRows({"scores": rows}, facts={"packs_split": splits})

    def coverage(self, job: Job) -> list[Coverage]:
        """Every readable sample has one row."""
        return [Coverage("scores", "sample_id", _ids(job), unique=True)]


def _ids(job: Job) -> list[str]:
    rows = read(job.store, job.inputs["ingest"], "samples", ["sample_id", "reason"])
    return [row["sample_id"] for row in rows if row["reason"] is None]


def _row(gain: GainRow) -> dict[str, Any]:
    return {
        "sample_id": gain.sample_id,
        "token_logps": gain.image_token_logps,
        "blank_token_logps": gain.blank_token_logps,
        "iig_sum": gain.iig_sum,
        "iig_mean": gain.iig_mean,
        "n_tokens": gain.n_tokens,
        "reason": None if math.isfinite(gain.iig_sum) else "nonfinite_logp",
    }
