"""pair -> groups: chosen and rejected responses under the clean image, and online prompts."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa

from mbpo_core.selection import sample_order
from storage.store import Coverage
from storage.tables import TableSpec
from tasks.rows import read
from tasks.stage import Job, ShardRows, Stage

CANDIDATE = pa.struct(
    [
        ("role", pa.string()),
        ("text", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("image_id", pa.string()),
        ("generated_from", pa.string()),
    ]
)
OPTIONS = pa.list_(pa.struct([("letter", pa.string()), ("text", pa.string())]))
GROUPS = TableSpec(
    "groups",
    pa.schema(
        [
            ("group_id", pa.string()),
            ("stream", pa.string()),
            ("sample_id", pa.string()),
            ("image_id", pa.string()),
            ("question", pa.string()),
            ("candidates", pa.list_(CANDIDATE)),
            ("closed_kind", pa.string()),
            ("closed_answer", pa.string()),
            ("options", OPTIONS),
            ("reason", pa.string()),
        ]
    ),
)


class Pair(Stage):
    """Groups of both streams; what makes no group says why."""

    name = "pair"
    inputs = ("ingest", "respond")
    tables = (GROUPS,)
    libraries = ("pyarrow",)

    def shards(self, job: Job) -> int:
        """Which closed-ended samples are held out depends on all: one shard."""
        return 1

    def run(self, job: Job, shard: int) -> ShardRows:
        """Join responses with their samples."""
        samples = {row["sample_id"]: row for row in _samples(job)}
        responses = read(
            job.store, job.inputs["respond"], "responses",
            ["sample_id", "negative_id", "text", "token_ids", "reason"],
        )  # fmt: skip
        offline = [_offline(samples[row["sample_id"]], row) for row in responses]
        closed = [row for row in samples.values() if row["closed_kind"] is not None]
        return ShardRows({"groups": offline + _online(job, closed)})

    def coverage(self, job: Job) -> list[Coverage]:
        """Every response and every closed-ended sample has one row."""
        responses = read(job.store, job.inputs["respond"], "responses", ["sample_id"])
        closed = [row["sample_id"] for row in _samples(job) if row["closed_kind"] is not None]
        ids = [row["sample_id"] for row in responses] + closed
        return [Coverage("groups", "sample_id", ids, unique=True)]


def _samples(job: Job) -> list[dict[str, Any]]:
    columns = ["sample_id", "image_id", "question", "response", "closed_kind", "closed_answer",
               "options", "reason"]  # fmt: skip
    rows = read(job.store, job.inputs["ingest"], "samples", columns)
    return [row for row in rows if row["reason"] is None]


def _group(sample: dict[str, Any], stream: str, reason: str | None) -> dict[str, Any]:
    """Return a row without candidates."""
    name = hashlib.sha256(f"{stream}:{sample['sample_id']}".encode()).hexdigest()[:24]
    kept = {k: sample[k] for k in ("sample_id", "image_id", "question", "closed_kind",
                                   "closed_answer", "options")}  # fmt: skip
    return kept | {"group_id": name, "stream": stream, "candidates": [], "reason": reason}


def _offline(sample: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    """Return a pair: both are scored under the clean image, whatever image they came from."""
    group = _group(sample, "offline", response["reason"])
    if response["reason"] is None:
        under = {"image_id": sample["image_id"]}
        group["candidates"] = [
            {"role": "chosen", "text": sample["response"]} | under,
            {
                "role": "rejected",
                "text": response["text"],
                "token_ids": response["token_ids"],
                "generated_from": response["negative_id"],
            }
            | under,
        ]
    return group


def _online(job: Job, closed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    config = job.recipe.pair
    order = sorted(closed, key=lambda row: sample_order(job.recipe.seed, row["sample_id"]))
    held_out = {row["sample_id"] for row in order[: config.held_out]}
    used = order[config.held_out :][: config.max_online]
    online = {row["sample_id"] for row in used}
    reasons = {
        row["sample_id"]: "held_out" if row["sample_id"] in held_out else "over_max_online"
        for row in closed
        if row["sample_id"] not in online
    }
    return [_group(row, "online", reasons.get(row["sample_id"])) for row in closed]
