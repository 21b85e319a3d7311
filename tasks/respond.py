"""respond -> responses: rejected responses, one for each selected sample and source."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from mbpo_core.config import Model, Recipe
from mbpo_core.given_responses import given_rejected
from mbpo_core.models.protocol import Sampler
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.responses import (
    NONFINITE_LOGP,
    RefusalRules,
    RejectedResponse,
    RespondRow,
    attempt_seed,
    sample_rejected,
)
from mbpo_core.seeds import seed_for
from storage.refs import ArtifactRef
from storage.store import ArtifactStore, Coverage
from storage.tables import TableSpec
from tasks.clock import around_the_model
from tasks.injectors import make_injector
from tasks.models import open_policy
from tasks.packs import PackLog, run_packs
from tasks.queries import COLUMNS, prompted
from tasks.rows import chunk, fetch, pixels
from tasks.samplers import drawn_ahead, open_sampler
from tasks.stage import Job, ShardRows, Stage, slices

_LOGPS = pa.list_(pa.float32())
RESPONSES = TableSpec(
    "responses",
    pa.schema(
        [
            ("sample_id", pa.string()),
            ("source", pa.string()),
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
Row = dict[str, Any]
Answer = Callable[[list[RespondRow]], list[RejectedResponse]]
PURPOSES = {"negative": "respond", "clean": "respond clean"}
"""Sources whose responses are drawn, and the purpose in their seeds."""


class Respond(Stage):
    """Rejected responses: sampled (eq. 6), a data set's own, or right ones made wrong."""

    name = "respond"
    inputs = ("ingest", "mine")
    tables = (RESPONSES,)

    def models(self, recipe: Recipe) -> dict[str, Model]:
        """Return the policy: it samples, and measures what is given."""
        return {"policy": recipe.policy} if recipe.respond.sources else {}

    def draws_responses(self, recipe: Recipe) -> bool:
        """Return whether a source is sampled."""
        return any(source in PURPOSES for source in recipe.respond.sources)

    def shards(self, job: Job) -> int:
        """Return one shard for every `shard_rows` selected samples."""
        return len(slices(_negatives(job).num_rows, job.recipe.respond.shard_rows))

    def run(self, job: Job, shard: int) -> ShardRows:
        """Answer for one run of selected samples, source after source."""
        config = job.recipe.respond
        negatives = chunk(_negatives(job), config.shard_rows, shard).to_pylist()
        if not config.sources:
            return ShardRows({"responses": []})
        names = [row["sample_id"] for row in negatives]
        columns = (*COLUMNS, "rejected")
        samples = fetch(job.store, job.inputs["ingest"], "samples", names, columns)
        mined = [row["sample_id"] for row in negatives if not row["reason"]]
        images = fetch(job.store, job.inputs["mine"], "negatives", mined, ["image"])
        policy = open_policy(job.recipe.policy, job.device)
        log = PackLog(f"{self.name} {job.device}")
        responses = [
            row
            for source in config.sources
            for row in _from(source, job, policy, negatives, samples, images, log)
        ]
        return ShardRows({"responses": responses}, facts=log.facts())

    def coverage(self, job: Job) -> list[Coverage]:
        """Every selected sample has a row of each source, refused ones too."""
        if not job.recipe.respond.sources:
            return []
        return [Coverage("responses", "sample_id", _negatives(job)["sample_id"])]


def _negatives(job: Job) -> pa.Table:
    return _listed(job.store.root, job.inputs["mine"])


@lru_cache(maxsize=1)
@around_the_model()
def _listed(root: Path, negatives: ArtifactRef) -> pa.Table:
    columns = ["sample_id", "negative_id", "reason"]
    return ArtifactStore(root).table(negatives, "negatives", columns)


def _from(
    source: str, job: Job, policy: QwenVL, negatives: list[Row], samples: dict[str, Row],
    images: dict[str, Row], log: PackLog,
) -> list[Row]:  # fmt: skip
    """Return one row per sample."""
    ready: list[RespondRow] = []
    rows: dict[str, Row] = {}
    for negative in negatives:
        name = negative["sample_id"]
        row = _row_of(source, policy, samples[name], negative, images)
        if isinstance(row, str):
            rows[name] = {"sample_id": name, "reason": row}
        else:
            ready.append(row)
    config = job.recipe.respond
    answer = _answers(source, job, policy, samples, ready)
    made = run_packs(
        ready,
        [len(row.prompt) + config.max_new_tokens for row in ready],
        config.batch_tokens,
        lambda pack: [_stored(row, source) for row in answer(pack)],
        lambda row, reason: {"sample_id": row.sample_id, "reason": reason},
        log,
    )
    rows |= {row["sample_id"]: row for row in made}
    for negative in negatives:
        row = rows[negative["sample_id"]]
        row["source"] = source
        row["negative_id"] = negative["negative_id"] if source == "negative" else None
    return [rows[negative["sample_id"]] for negative in negatives]


def _row_of(
    source: str, policy: QwenVL, sample: Row, negative: Row, images: dict[str, Row]
) -> RespondRow | str:
    """Return what a response is made for, or why there can be none."""
    if source == "negative" and negative["reason"]:
        return f"no_negative:{negative['reason']}"
    if source == "dataset" and sample["rejected"] is None:
        return "no_rejected_text"
    row = prompted(policy, sample, None)
    if isinstance(row, str):
        return row
    under = pixels(images[row.sample_id]["image"]) if source == "negative" else row.image
    return RespondRow(row.sample_id, row.prompt, sample["response"], row.image, under)


def _answers(
    source: str, job: Job, policy: QwenVL, samples: dict[str, Row], rows: list[RespondRow]
) -> Answer:
    """Return how a pack of the rows is answered."""
    if source in PURPOSES:
        config = job.recipe.respond
        settings = {"temperature": config.temperature, "top_p": config.top_p,
                    "max_new_tokens": config.max_new_tokens}  # fmt: skip
        return partial(
            sample_rejected,
            policy,
            rules=RefusalRules(min_mean_logp=config.min_mean_logp),
            run_seed=job.recipe.seed,
            attempts=config.attempts,
            purpose=PURPOSES[source],
            sampler=_sampler(source, job, policy, rows, settings),
            **settings,
        )
    if source == "dataset":
        return lambda pack: given_rejected(
            policy, pack, [samples[row.sample_id]["rejected"] for row in pack]
        )
    return lambda pack: _injected(job, policy, pack, samples)


def _sampler(
    source: str, job: Job, policy: QwenVL, rows: list[RespondRow], settings: dict[str, Any]
) -> Sampler:
    """Return what draws; an engine that batches by itself gets the first attempts together."""
    sampler = open_sampler(job.recipe.policy, policy, job.runtime, job.device)
    seeds = [attempt_seed(job.recipe.seed, row.sample_id, PURPOSES[source], 0) for row in rows]
    return drawn_ahead(
        sampler, policy, [row.prompt for row in rows], [row.negative for row in rows], seeds,
        settings,
    )  # fmt: skip


def _injected(
    job: Job, policy: QwenVL, pack: list[RespondRow], samples: dict[str, Row]
) -> list[RejectedResponse]:
    """Put an error into each chosen response; what has none that could be put in says so."""
    inject = make_injector(job.recipe.respond.injector)
    texts = {
        row.sample_id: inject(
            samples[row.sample_id]["question"],
            row.chosen,
            seed_for(job.recipe.seed, row.sample_id, "inject"),
        )
        for row in pack
    }
    changed = [row for row in pack if texts[row.sample_id] is not None]
    given = given_rejected(policy, changed, [texts[row.sample_id] or "" for row in changed])
    found = {response.sample_id: response for response in given}
    nothing = partial(RejectedResponse, text="", ids=[], finished=True, attempt=0,
                      reason="nothing_to_change", refused=[], clean_token_logps=[],
                      negative_token_logps=[], blank_token_logps=[])  # fmt: skip
    return [found.get(row.sample_id) or nothing(row.sample_id) for row in pack]


def _stored(response: RejectedResponse, source: str) -> Row:
    row = dict(vars(response))
    ids = row.pop("ids")
    row["token_ids"] = ids if source in ("negative", "clean") else None  # else it is the text's
    row["refused_attempts"] = row.pop("refused")
    if source != "negative":
        row["negative_token_logps"] = None
    clean, blank = response.clean_token_logps, response.blank_token_logps
    row["iig_mean"] = (sum(clean) - sum(blank)) / len(clean) if clean else None
    measured = (*clean, *blank, *response.negative_token_logps)
    if row["reason"] is None and not all(map(math.isfinite, measured)):
        row["reason"] = NONFINITE_LOGP
    return row
