"""mine -> negatives: the picture attacked until the model falls back on its prior (eq. 5)."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa

from mbpo_core.config import Model, Recipe
from mbpo_core.mining.attack import mine_pgd
from mbpo_core.mining.pgd import PGD
from mbpo_core.mining.protocol import OK, MinedImage
from mbpo_core.models.protocol import PromptedResponse
from storage.store import Coverage
from storage.tables import IMAGE, TableSpec
from tasks.models import open_policy
from tasks.queries import COLUMNS, prompted_all, run_rows
from tasks.rows import chunk, fetch
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
            ("logp_reread", pa.float64()),
            ("logp_blank", pa.float64()),
            ("best_step", pa.int32()),
            ("linf", pa.float64()),
            ("retried", pa.bool_()),
            ("recovered", pa.float64()),
            ("recovered_reason", pa.string()),
            ("reason", pa.string()),
        ]
    ),
    image_columns=("image",),
)
_FIGURES = (
    "sample_id", "logp_clean", "logp_negative", "logp_reread", "logp_blank", "best_step", "linf",
    "retried", "recovered", "recovered_reason",
)  # fmt: skip


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
        samples = fetch(job.store, job.inputs["ingest"], "samples", ids, COLUMNS)
        policy = open_policy(job.recipe.attacked or job.recipe.policy, job.device)
        attack = PGD(config.epsilon, config.step_size, config.steps, config.iterate)

        def mine(pack: list[PromptedResponse]) -> list[dict[str, Any]]:
            return [_row(m) for m in mine_pgd(policy, pack, attack, noise_floor=config.noise_floor)]

        rows, splits = run_rows(prompted_all(policy, ids, samples), config.batch_tokens, mine)
        return ShardRows({"negatives": rows}, facts={"packs_split": splits})

    def coverage(self, job: Job) -> list[Coverage]:
        """Every selected sample has one row."""
        return [Coverage("negatives", "sample_id", chosen_ids(job), unique=True)]


def chosen_ids(job: Job) -> list[str]:
    """Return the selected samples, in the order of the samples."""
    rows = job.store.table(job.inputs["select"], "selection", ["sample_id", "chosen"])
    return rows.filter(rows["chosen"])["sample_id"].to_pylist()


def _row(mined: MinedImage) -> dict[str, Any]:
    row = {name: getattr(mined, name) for name in _FIGURES}
    row["logp_trace"] = list(mined.logp_trace)
    row["reason"] = None if mined.status == OK else mined.status
    if mined.png is not None:
        name = hashlib.sha256(mined.png).hexdigest()[:24]
        row["negative_id"] = name
        row["image"] = {"bytes": mined.png, "path": f"{name}.png"}
    return row
