"""score -> scores, entropies: what every readable sample is ranked or ordered by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from mbpo_core.answer_entropy import EntropyRow, answer_entropy
from mbpo_core.config import Model, Recipe
from mbpo_core.information_gain import GainRow, information_gain
from mbpo_core.models.protocol import PromptedResponse
from storage.store import Coverage
from storage.tables import TableSpec
from tasks.models import open_policy
from tasks.packs import PackLog
from tasks.queries import COLUMNS, prompted_all, run_rows
from tasks.rows import chunk, fetch, kept_ids
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


ENTROPIES = TableSpec(
    "entropies",
    pa.schema(
        [
            ("sample_id", pa.string()),
            ("text", pa.string()),
            ("token_entropies", pa.list_(pa.float32())),
            ("entropy_mean", pa.float64()),
            ("n_tokens", pa.int32()),
            ("finished", pa.bool_()),
            ("reason", pa.string()),
        ]
    ),
)
NOT_SCORED = "not_scored"
Row = dict[str, Any]


class Score(Stage):
    """Image information gain (eq. 4 of MBPO) and the entropy of the policy's own answers (MFPO)."""

    name = "score"
    inputs = ("ingest",)
    tables = (SCORES, ENTROPIES)
    seeded = False

    def models(self, recipe: Recipe) -> dict[str, Model]:
        """Return the scorer for the gain, the policy for the entropy."""
        roles = {"information_gain": ("scorer", recipe.scorer),
                 "answer_entropy": ("policy", recipe.policy)}  # fmt: skip
        return dict(roles[signal] for signal in recipe.score.signals)

    def shards(self, job: Job) -> int:
        """Return one shard for every `shard_rows` samples and signal.

        Signal after signal, so that a worker loads each model once.
        """
        return max(1, len(job.recipe.score.signals)) * _shards_per_signal(job)

    def run(self, job: Job, shard: int) -> ShardRows:
        """Score one run of samples by one signal."""
        which, part = divmod(shard, _shards_per_signal(job))
        ids = chunk(_ids(job), job.recipe.score.shard_rows, part).to_pylist()
        signals = job.recipe.score.signals
        signal = signals[which] if signals else None
        # The table `scores` has every sample, whether or not its gain was asked for.
        skipped = [{"sample_id": name, "reason": NOT_SCORED} for name in ids]
        if signal is None:
            return ShardRows({"scores": skipped})
        samples = fetch(job.store, job.inputs["ingest"], "samples", ids, COLUMNS)
        log = PackLog(f"{self.name} {signal} {job.device}")
        if signal == "information_gain":
            return ShardRows({"scores": _gains(job, ids, samples, log)}, facts=log.facts())
        tables = {"entropies": _entropies(job, ids, samples, log)}
        if "information_gain" not in signals:
            tables["scores"] = skipped
        return ShardRows(tables, facts=log.facts())

    def coverage(self, job: Job) -> list[Coverage]:
        """Every readable sample has one row."""
        ids = _ids(job)
        tables = ["scores"]
        if "answer_entropy" in job.recipe.score.signals:
            tables.append("entropies")
        return [Coverage(table, "sample_id", ids, unique=True) for table in tables]


def _ids(job: Job) -> pa.ChunkedArray:
    return kept_ids(job.store, job.inputs["ingest"], "samples")


def _shards_per_signal(job: Job) -> int:
    return len(slices(len(_ids(job)), job.recipe.score.shard_rows))


def _gains(job: Job, ids: Sequence[str], samples: dict[str, Row], log: PackLog) -> list[Row]:
    config = job.recipe.score
    policy = open_policy(job.recipe.scorer, job.device)
    return run_rows(
        prompted_all(policy, ids, samples, config.max_length),
        config.batch_tokens,
        lambda pack: [_row(gain) for gain in information_gain(policy, pack)],
        log,
        by_image=True,
    )


def _entropies(job: Job, ids: Sequence[str], samples: dict[str, Row], log: PackLog) -> list[Row]:
    config = job.recipe.score
    policy = open_policy(job.recipe.policy, job.device)

    def run(pack: list[PromptedResponse]) -> list[Row]:
        found = answer_entropy(policy, pack, max_new_tokens=config.answer_tokens)
        return [_entropy_row(row) for row in found]

    return run_rows(
        prompted_all(policy, ids, samples, config.max_length), config.batch_tokens, run, log,
        extra=config.answer_tokens,
    )  # fmt: skip


def _row(gain: GainRow) -> Row:
    return {
        "sample_id": gain.sample_id,
        "token_logps": gain.image_token_logps,
        "blank_token_logps": gain.blank_token_logps,
        "iig_sum": gain.iig_sum,
        "iig_mean": gain.iig_mean,
        "n_tokens": gain.n_tokens,
        "reason": None if math.isfinite(gain.iig_sum) else "nonfinite_logp",
    }


def _entropy_row(row: EntropyRow) -> Row:
    return {
        "sample_id": row.sample_id,
        "text": row.text,
        "token_entropies": row.token_entropies,
        "entropy_mean": row.entropy_mean,
        "n_tokens": len(row.ids),
        "finished": row.finished,
        "reason": None if math.isfinite(row.entropy_mean) else "nonfinite_logp",
    }
