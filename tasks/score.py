"""score -> scores: image information gain of every readable sample (eq. 4)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from mbpo_core.config import Model, Recipe
from mbpo_core.information_gain import GainQuery, information_gain
from mbpo_core.models.qwen_vl import QwenVL
from storage.store import Coverage
from storage.tables import TableSpec
from tasks.models import open_policy
from tasks.packs import run_packs
from tasks.rows import chunk, fetch, pixels, read
from tasks.stage import Job, ShardRows, Stage, slices

SCORES = TableSpec(
    "scores",
    pa.schema(
        [
            ("sample_id", pa.string()),
            ("token_logps", pa.list_(pa.float32())),
            ("blank_token_logps", pa.list_(pa.float32())),
            ("logp", pa.float64()),
            ("blank_logp", pa.float64()),
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
        samples = fetch(
            job.store, job.inputs["ingest"], "samples", ids,
            ["sample_id", "image", "height", "width", "question", "response"],
        )  # fmt: skip
        policy = open_policy(job.recipe.scorer, job.device)
        rows = [_query(policy, samples[sample_id]) for sample_id in ids]
        fits = [row for row in rows if row["length"] <= config.max_length]
        scored, splits = run_packs(
            fits,
            [row["length"] for row in fits],
            config.batch_tokens,
            lambda pack: _score(policy, pack),
            lambda row: {"sample_id": row["sample_id"], "reason": "out_of_memory"},
        )
        found = {row["sample_id"]: row for row in scored}
        too_long = {"reason": "too_long"}
        return ShardRows(
            {"scores": [found.get(i, {"sample_id": i} | too_long) for i in ids]},
            facts={"packs_split": splits},
        )

    def coverage(self, job: Job) -> list[Coverage]:
        """Every readable sample has one row."""
        return [Coverage("scores", "sample_id", _ids(job), unique=True)]


def _ids(job: Job) -> list[str]:
    rows = read(job.store, job.inputs["ingest"], "samples", ["sample_id", "reason"])
    return [row["sample_id"] for row in rows if row["reason"] is None]


def _query(policy: QwenVL, sample: dict[str, Any]) -> dict[str, Any]:
    prompt = policy.prompt_ids(sample["question"], sample["height"], sample["width"])
    response = policy.response_ids(sample["response"])
    return sample | {
        "prompt": prompt,
        "response_ids": response,
        "length": len(prompt) + len(response),
    }


def _score(policy: QwenVL, pack: list[dict[str, Any]]) -> list[dict[str, Any]]:
    queries = [
        GainQuery(row["prompt"], row["response_ids"], pixels(row["image"])) for row in pack
    ]
    rows = []
    for row, gain in zip(pack, information_gain(policy, queries), strict=True):
        rows.append(
            {
                "sample_id": row["sample_id"],
                "token_logps": gain.token_logps.tolist(),
                "blank_token_logps": gain.blank_token_logps.tolist(),
                "logp": gain.logp,
                "blank_logp": gain.blank_logp,
                "iig_sum": gain.iig_sum,
                "iig_mean": gain.iig_mean,
                "n_tokens": gain.n_tokens,
                "reason": None if gain.finite else "nonfinite_logp",
            }
        )
    return rows
