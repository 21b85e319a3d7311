"""respond -> responses: what the model says when the picture is attacked (eq. 6)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from mbpo_core.config import Model, Recipe, RespondConfig
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.responses import RefusalRules, RejectedResponse, RespondRow, sample_rejected
from storage.store import Coverage
from storage.tables import TableSpec
from tasks.models import open_policy
from tasks.packs import run_packs
from tasks.queries import COLUMNS, prompted
from tasks.rows import chunk, fetch, pixels, read
from tasks.stage import Job, ShardRows, Stage, slices

_LOGPS = pa.list_(pa.float32())
RESPONSES = TableSpec(
    "responses",
    pa.schema(
        [
            ("sample_id", pa.string()),
            ("negative_id", pa.string()),
            ("text", pa.string()),
            ("token_ids", pa.list_(pa.int32())),
            ("finished", pa.bool_()),
            ("attempt", pa.int32()),
            ("refused_attempts", pa.list_(pa.string())),
            ("clean_token_logps", _LOGPS),
            ("negative_token_logps", _LOGPS),
            ("blank_token_logps", _LOGPS),
            ("iig_mean", pa.float64()),
            ("reason", pa.string()),
        ]
    ),
)


class Respond(Stage):
    """Sample a rejected response on every re-read negative image."""

    name = "respond"
    inputs = ("ingest", "mine")
    tables = (RESPONSES,)

    def models(self, recipe: Recipe) -> dict[str, Model]:
        """Return the policy: the rejected response is its own."""
        return {"policy": recipe.policy}

    def shards(self, job: Job) -> int:
        """Return one shard for every `shard_rows` negatives."""
        return len(slices(len(_negatives(job)), job.recipe.respond.shard_rows))

    def run(self, job: Job, shard: int) -> ShardRows:
        """Answer one run of negatives."""
        config = job.recipe.respond
        negatives = chunk(_negatives(job), config.shard_rows, shard)
        found = {row["sample_id"]: row["negative_id"] for row in negatives if not row["reason"]}
        samples = fetch(job.store, job.inputs["ingest"], "samples", found, COLUMNS)
        images = fetch(job.store, job.inputs["mine"], "negatives", found, ["image"])
        policy = open_policy(job.recipe.policy, job.device)
        rows = [_row_of(policy, samples[name], images[name]) for name in found]
        rules = RefusalRules(min_mean_logp=config.min_mean_logp)
        made, splits = run_packs(
            rows,
            [len(row.prompt) + config.max_new_tokens for row in rows],
            config.batch_tokens,
            lambda pack: _respond(policy, pack, rules, config, job.recipe.seed),
            lambda row: {"sample_id": row.sample_id, "reason": "out_of_memory"},
        )
        by_id = {row["sample_id"]: row for row in made}
        responses = [
            by_id[row["sample_id"]] | {"negative_id": row["negative_id"]}
            if row["sample_id"] in by_id
            else {"sample_id": row["sample_id"], "reason": f"no_negative:{row['reason']}"}
            for row in negatives
        ]
        return ShardRows({"responses": responses}, facts={"packs_split": splits})

    def coverage(self, job: Job) -> list[Coverage]:
        """Every negative, refused ones too, has one row."""
        ids = [row["sample_id"] for row in _negatives(job)]
        return [Coverage("responses", "sample_id", ids, unique=True)]


def _negatives(job: Job) -> list[dict[str, Any]]:
    columns = ["sample_id", "negative_id", "reason"]
    return read(job.store, job.inputs["mine"], "negatives", columns)


def _row_of(policy: QwenVL, sample: dict[str, Any], negative: dict[str, Any]) -> RespondRow:
    row = prompted(policy, sample, None)
    if isinstance(row, str):
        raise ValueError(f"sample {sample['sample_id']} was mined but is {row}")
    return RespondRow(
        row.sample_id, row.prompt, sample["response"], row.image, pixels(negative["image"])
    )


def _respond(
    policy: QwenVL, pack: list[RespondRow], rules: RefusalRules, config: RespondConfig, seed: int
) -> list[dict[str, Any]]:
    drawn = sample_rejected(
        policy,
        pack,
        rules,
        run_seed=seed,
        attempts=config.attempts,
        temperature=config.temperature,
        top_p=config.top_p,
        max_new_tokens=config.max_new_tokens,
    )
    return [_row(response) for response in drawn]


def _row(response: RejectedResponse) -> dict[str, Any]:
    row = dict(vars(response))
    row["token_ids"] = row.pop("ids")
    row["refused_attempts"] = row.pop("refused")
    clean, blank = response.clean_token_logps, response.blank_token_logps
    row["iig_mean"] = (sum(clean) - sum(blank)) / len(clean) if clean else None
    return row
