"""mine -> negatives: the picture attacked until the model falls back on its prior (eq. 5)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from mbpo_core.config import Model, Recipe
from mbpo_core.mining.pgd import PGD, AttackQuery, mine_pgd
from mbpo_core.models.qwen_vl import QwenVL
from storage.store import Coverage
from storage.tables import IMAGE, TableSpec
from tasks.models import open_policy
from tasks.packs import run_packs
from tasks.rows import chunk, fetch, pixels, read
from tasks.stage import Job, ShardRows, Stage, slices

NEGATIVES = TableSpec(
    "negatives",
    pa.schema(
        [
            ("sample_id", pa.string()),
            ("negative_id", pa.string()),
            ("image", IMAGE),
            ("logp_trace", pa.list_(pa.float64())),
            ("logp_clean", pa.float64()),
            ("logp_negative", pa.float64()),
            ("logp_reloaded", pa.float64()),
            ("logp_blank", pa.float64()),
            ("n_tokens", pa.int32()),
            ("linf", pa.int32()),
            ("iterate", pa.int32()),
            ("recovered", pa.float64()),
            ("recovered_reason", pa.string()),
            ("reason", pa.string()),
        ]
    ),
    image_columns=("image",),
)


class Mine(Stage):
    """PGD through the attacked model on every selected sample."""

    name = "mine"
    inputs = ("ingest", "select")
    tables = (NEGATIVES,)
    libraries = ("torch", "transformers", "pyarrow", "pillow")

    def models(self, recipe: Recipe) -> dict[str, Model]:
        """Return the attacked model."""
        return {"attacked": recipe.attacked or recipe.policy}

    def shards(self, job: Job) -> int:
        """Return one shard for every `shard_rows` selected samples."""
        return len(slices(len(chosen_ids(job)), job.recipe.mine.shard_rows))

    def run(self, job: Job, shard: int) -> ShardRows:
        """Attack the images of one run of samples."""
        config = job.recipe.mine
        ids = chunk(chosen_ids(job), config.shard_rows, shard)
        samples = fetch(
            job.store, job.inputs["ingest"], "samples", ids,
            ["sample_id", "image", "height", "width", "question", "response"],
        )  # fmt: skip
        policy = open_policy(job.recipe.attacked or job.recipe.policy, job.device)
        attack = PGD(config.epsilon, config.step_size, config.steps, config.iterate)
        rows = [_query(policy, samples[sample_id]) for sample_id in ids]
        mined, splits = run_packs(
            rows,
            [row["length"] for row in rows],
            config.batch_tokens,
            lambda pack: _mine(policy, attack, pack, config.noise_floor),
            lambda row: {"sample_id": row["sample_id"], "reason": "out_of_memory"},
        )
        return ShardRows({"negatives": mined}, facts={"packs_split": splits})

    def coverage(self, job: Job) -> list[Coverage]:
        """Every selected sample has one row."""
        return [Coverage("negatives", "sample_id", chosen_ids(job), unique=True)]


def chosen_ids(job: Job) -> list[str]:
    """Return the selected samples, in the order of the samples."""
    rows = read(job.store, job.inputs["select"], "selection", ["sample_id", "chosen"])
    return [row["sample_id"] for row in rows if row["chosen"]]


def _query(policy: QwenVL, sample: dict[str, Any]) -> dict[str, Any]:
    prompt = policy.prompt_ids(sample["question"], sample["height"], sample["width"])
    response = policy.response_ids(sample["response"])
    return sample | {
        "prompt": prompt,
        "response_ids": response,
        "length": len(prompt) + len(response),
    }


def _mine(
    policy: QwenVL, attack: PGD, pack: list[dict[str, Any]], noise_floor: float
) -> list[dict[str, Any]]:
    queries = [
        AttackQuery(row["prompt"], row["response_ids"], pixels(row["image"])) for row in pack
    ]
    rows = []
    for row, mined in zip(pack, mine_pgd(policy, queries, attack, noise_floor), strict=True):
        rows.append(
            {
                "sample_id": row["sample_id"],
                "negative_id": mined.image_id,
                "image": {"bytes": mined.png, "path": f"{mined.image_id}.png"},
                "logp_trace": mined.logp_trace,
                "logp_clean": mined.logp_clean,
                "logp_negative": mined.logp_negative,
                "logp_reloaded": mined.logp_reloaded,
                "logp_blank": mined.logp_blank,
                "n_tokens": len(row["response_ids"]),
                "linf": mined.linf,
                "iterate": mined.iterate,
                "recovered": mined.recovered,
                "recovered_reason": mined.recovered_reason,
                "reason": mined.reason,
            }
        )
    return rows
