"""pair -> groups: each prompt with all its candidates, and online prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mbpo_core.selection import sample_order
from storage.store import Coverage
from storage.tables import TableSpec
from tasks.rows import read, read_where
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
            ("source", pa.string()),
            ("image_id", pa.string()),
            ("question", pa.string()),
            ("candidates", pa.list_(CANDIDATE)),
            ("difficulty", pa.float64()),
            ("closed_kind", pa.string()),
            ("closed_answer", pa.string()),
            ("options", OPTIONS),
            ("reason", pa.string()),
        ]
    ),
)
Row = dict[str, Any]
HELD_OUT = "held_out"


class Pair(Stage):
    """Groups of both streams; what makes no group says why.

    A group has every candidate that miner and responses give; an objective takes those it reads.
    """

    name = "pair"
    inputs = ("ingest", "score", "mine", "respond")
    tables = (GROUPS,)
    libraries = ("pyarrow",)

    def shards(self, job: Job) -> int:
        """Which closed-ended samples are held out depends on all: one shard."""
        return 1

    def run(self, job: Job, shard: int) -> ShardRows:
        """Join responses and negatives with their samples."""
        columns = ["sample_id", "negative_id", "reason"]
        negatives = read(job.store, job.inputs["mine"], "negatives", columns)
        samples = {row["sample_id"]: row for row in _samples(job).to_pylist()}
        responses = _responses(job, negatives)
        _hold_out(job, responses)
        if job.recipe.pair.rejected == "shuffled":
            _shuffle(responses, samples, job.recipe.seed)
        difficulty = _difficulty(job)
        images = {row["sample_id"]: row for row in negatives}
        makes_images = job.recipe.mine.makes_images
        offline = [
            _offline(
                samples[row["sample_id"]],
                row,
                images[row["sample_id"]] if makes_images else None,
                difficulty.get(row["sample_id"]),
            )
            for row in responses
        ]
        closed = [row for row in samples.values()
                  if row["closed_kind"] is not None and row["sample_id"] not in images]  # fmt: skip
        return ShardRows({"groups": offline + _online(job, closed)})

    def coverage(self, job: Job) -> list[Coverage]:
        """Every mined and every closed-ended sample has a row."""
        ids = _samples(job, ["sample_id"])["sample_id"]
        return [
            Coverage("groups", "sample_id", ids),
            Coverage("groups", "group_id", [], unique=True),
        ]


_SAMPLE = ("sample_id", "image_id", "question", "response", "closed_kind", "closed_answer",
           "options")  # fmt: skip


def _samples(job: Job, columns: Sequence[str] = _SAMPLE) -> pa.Table:
    """Return the samples that make groups: those that were mined, and closed-ended ones."""
    mined = job.store.table(job.inputs["mine"], "negatives", ["sample_id"])["sample_id"]

    def keep(rows: pa.Table) -> pa.ChunkedArray:
        wanted = pc.or_(
            pc.is_in(rows["sample_id"], value_set=mined), pc.is_valid(rows["closed_kind"])
        )
        return pc.and_(pc.is_null(rows["reason"]), wanted)

    needed = sorted({*columns, "closed_kind", "reason"})
    found = read_where(job.store, job.inputs["ingest"], "samples", needed, keep)
    return found.select(list(columns))


def _responses(job: Job, negatives: list[Row]) -> list[Row]:
    """Return one row per pair to make; without a source, one per sample that has no response."""
    columns = ["sample_id", "source", "negative_id", "text", "token_ids", "reason"]
    if job.recipe.respond.sources:
        return read(job.store, job.inputs["respond"], "responses", columns)
    nothing = dict.fromkeys(columns)
    return [nothing | {"sample_id": row["sample_id"]} for row in negatives]


def _hold_out(job: Job, responses: list[Row]) -> None:
    """Keep some samples from training where the selection took every kind of them."""
    if job.recipe.select.pool != "all":
        return
    ids = sorted(
        {row["sample_id"] for row in responses},
        key=lambda sample_id: sample_order(job.recipe.seed, sample_id),
    )
    held_out = set(ids[: job.recipe.pair.held_out])
    for row in responses:
        if row["sample_id"] in held_out:
            row["reason"] = row["reason"] or HELD_OUT


def _shuffle(responses: list[Row], samples: dict[str, Row], seed: int) -> None:
    """Give each pair the text of the next one, in an order drawn by the seed.

    A text that equals the chosen response there makes no pair.
    """
    usable = [row for row in responses if row["reason"] is None]
    usable.sort(key=lambda row: sample_order(seed, row["sample_id"] + row["source"]))
    taken = ("text", "token_ids", "negative_id")
    texts = [{name: row[name] for name in taken} for row in usable]
    for row, other in zip(usable, texts[1:] + texts[:1], strict=True):
        row |= other
        if row["text"] == samples[row["sample_id"]]["response"]:
            row["reason"] = "equal_to_chosen"


def _difficulty(job: Job) -> dict[str, float]:
    """Return the answer entropy of each sample that could be scored."""
    if "answer_entropy" not in job.recipe.score.signals:
        return {}
    columns = ["sample_id", "entropy_mean", "reason"]
    rows = read(job.store, job.inputs["score"], "entropies", columns)
    return {row["sample_id"]: row["entropy_mean"] for row in rows if row["reason"] is None}


def _group(sample: Row, stream: str, source: str | None, reason: str | None) -> Row:
    """Return a row without candidates."""
    name = ":".join(part for part in (stream, source, sample["sample_id"]) if part)
    kept = {k: sample[k] for k in ("sample_id", "image_id", "question", "closed_kind",
                                   "closed_answer", "options")}  # fmt: skip
    return kept | {
        "group_id": hashlib.sha256(name.encode()).hexdigest()[:24],
        "stream": stream,
        "source": source,
        "candidates": [],
        "reason": reason,
    }


def _offline(sample: Row, response: Row, negative: Row | None, difficulty: float | None) -> Row:
    """Return a group: texts are scored under the clean image, whatever image they came from."""
    reason = response["reason"]
    if reason is None and negative is not None and negative["reason"] is not None:
        reason = f"no_negative:{negative['reason']}"
    group = _group(sample, "offline", response["source"], reason) | {"difficulty": difficulty}
    if reason is not None:
        return group
    chosen = {"role": "chosen", "text": sample["response"], "image_id": sample["image_id"]}
    group["candidates"] = [chosen]
    if response["source"] is not None:
        group["candidates"].append(
            {
                "role": "rejected",
                "text": response["text"],
                "token_ids": response["token_ids"],
                "image_id": sample["image_id"],
                "generated_from": response["negative_id"],
            }
        )
    if negative is not None:
        image = {"role": "rejected_image", "image_id": negative["negative_id"]}
        group["candidates"].append(chosen | image)
    return group


def _online(job: Job, closed: list[Row]) -> list[Row]:
    config = job.recipe.pair
    order = sorted(closed, key=lambda row: sample_order(job.recipe.seed, row["sample_id"]))
    held_out = {row["sample_id"] for row in order[: config.held_out]}
    used = order[config.held_out :][: config.max_online]
    online = {row["sample_id"] for row in used}
    reasons = {
        row["sample_id"]: HELD_OUT if row["sample_id"] in held_out else "over_max_online"
        for row in closed
        if row["sample_id"] not in online
    }
    return [_group(row, "online", None, reasons.get(row["sample_id"])) for row in closed]
