"""mine -> negatives: the picture made such that it no longer supports the chosen response."""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from mbpo_core.config import Model, Recipe
from mbpo_core.mining.pgd import NONFINITE_LOGP
from mbpo_core.mining.png import encode_png
from mbpo_core.mining.protocol import OK, MinedImage, MineItem, Tried
from mbpo_core.models.protocol import PromptedResponse
from storage.refs import ArtifactRef
from storage.store import ArtifactStore, Coverage
from storage.tables import IMAGE, TableSpec
from tasks.clock import around_the_model
from tasks.miners import checkpoints, make_miner
from tasks.models import open_policy
from tasks.packs import PackLog
from tasks.queries import COLUMNS, prompted_all, run_rows
from tasks.rows import chunk, fetch
from tasks.runtime import Runtime
from tasks.stage import Job, ShardRows, Stage, slices

NEGATIVES = TableSpec(
    "negatives",
    pa.schema(
        [
            ("sample_id", pa.string()),
            ("negative_id", pa.string()),
            ("image", IMAGE),
            ("scope", pa.string()),
            ("area", pa.float64()),
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
    "sample_id", "scope", "area", "logp_clean", "logp_negative", "logp_reread", "logp_blank",
    "best_step", "linf", "retried", "recovered", "recovered_reason",
)  # fmt: skip
REGIONS = TableSpec(
    "regions",
    pa.schema(
        [
            ("sample_id", pa.string()),
            ("rank", pa.int32()),
            ("phrase", pa.string()),
            ("phrase_score", pa.float64()),
            ("found", pa.bool_()),
            ("finder_score", pa.float64()),
            ("left", pa.int32()),
            ("top", pa.int32()),
            ("right", pa.int32()),
            ("bottom", pa.int32()),
            ("area", pa.float64()),
            ("image", IMAGE),
            ("image_score", pa.float64()),
            ("used", pa.bool_()),
            ("reason", pa.string()),
        ]
    ),
    image_columns=("image",),
)
NO_MINER = "no_miner"


class Mine(Stage):
    """The recipe's miner on every selected sample."""

    name = "mine"
    inputs = ("ingest", "select")
    tables = (NEGATIVES, REGIONS)
    libraries = (
        "torch", "transformers", "pyarrow", "pillow", "textblob", "networkx", "scipy",
        "scikit-image", "opencv-python-headless",
    )  # fmt: skip

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the miner's settings, and the seed where it draws."""
        seed = {"seed": recipe.seed} if recipe.mine.draws else {}
        own = recipe.mine.model_dump(mode="json", exclude=set(recipe.mine.idle))
        return seed | {self.name: own}

    def models(self, recipe: Recipe) -> dict[str, Model]:
        """Return the attacked model; other miners measure by it what they did."""
        if not recipe.mine.makes_images:
            return {}
        return {"attacked": recipe.attacked or recipe.policy}

    def external(self, recipe: Recipe, runtime: Runtime) -> dict[str, str]:
        """Return fingerprints of the checkpoints that the miner runs besides the policy."""
        return checkpoints(recipe.mine)

    def shards(self, job: Job) -> int:
        """Return one shard for every `shard_rows` selected samples."""
        return len(slices(len(chosen_ids(job)), job.recipe.mine.shard_rows))

    def run(self, job: Job, shard: int) -> ShardRows:
        """Mine one run of samples."""
        config = job.recipe.mine
        ids = chunk(chosen_ids(job), config.shard_rows, shard).to_pylist()
        if not config.makes_images:
            rows = [{"sample_id": name, "reason": NO_MINER} for name in ids]
            return ShardRows({"negatives": rows, "regions": []})
        columns = (*COLUMNS, "source_id")
        samples = fetch(job.store, job.inputs["ingest"], "samples", ids, columns)
        policy = open_policy(job.recipe.attacked or job.recipe.policy, job.device)
        miner = make_miner(config, policy, job.recipe.seed, job.device)
        regions: dict[str, list[dict[str, Any]]] = {}

        def mine(pack: list[PromptedResponse]) -> list[dict[str, Any]]:
            mined = miner([_item(row, samples[row.sample_id]) for row in pack])
            for image, row in zip(mined, pack, strict=True):
                regions[row.sample_id] = _regions(image)
            return [_row(image) for image in mined]

        log = PackLog(f"{self.name} {job.device}")
        rows = run_rows(prompted_all(policy, ids, samples), config.batch_tokens, mine, log)
        found = [region for name in ids for region in regions.get(name, ())]
        return ShardRows({"negatives": rows, "regions": found}, facts=log.facts())

    def coverage(self, job: Job) -> list[Coverage]:
        """Every selected sample has one row."""
        return [Coverage("negatives", "sample_id", chosen_ids(job), unique=True)]


def chosen_ids(job: Job) -> pa.ChunkedArray:
    """Return the selected samples, in the order of the samples."""
    return _chosen_ids(job.store.root, job.inputs["select"])


@lru_cache(maxsize=1)
@around_the_model()
def _chosen_ids(root: Path, selection: ArtifactRef) -> pa.ChunkedArray:
    rows = ArtifactStore(root).table(selection, "selection", ["sample_id", "chosen"])
    return rows.filter(rows["chosen"])["sample_id"]


def _item(row: PromptedResponse, sample: dict[str, Any]) -> MineItem:
    return MineItem(row, sample["question"], sample["response"], sample["source_id"] or "")


def _row(mined: MinedImage) -> dict[str, Any]:
    row = {name: getattr(mined, name) for name in _FIGURES}
    row["logp_trace"] = list(mined.logp_trace)
    row["reason"] = None if mined.status == OK else mined.status
    measured = (mined.logp_clean, mined.logp_reread, mined.logp_blank)
    if mined.status == OK and not all(math.isfinite(value or 0.0) for value in measured):
        row["reason"] = NONFINITE_LOGP
    if mined.png is not None and row["reason"] is None:
        row["negative_id"], row["image"] = _image(mined.png)
    return row


def _image(png: bytes) -> tuple[str, dict[str, Any]]:
    name = hashlib.sha256(png).hexdigest()[:24]
    return name, {"bytes": png, "path": f"{name}.png"}


def _regions(mined: MinedImage) -> list[dict[str, Any]]:
    return [
        {"sample_id": mined.sample_id, "rank": rank} | _tried(tried)
        for rank, tried in enumerate(mined.tried, start=1)
    ]


def _tried(tried: Tried) -> dict[str, Any]:
    row = {name: getattr(tried, name)
           for name in ("phrase", "phrase_score", "image_score", "used", "reason")}  # fmt: skip
    row["found"] = tried.region is not None
    if tried.region is not None:
        row["finder_score"] = tried.region.score
        row |= dict(zip(("left", "top", "right", "bottom"), tried.region.box, strict=True))
        row["area"] = float(tried.region.mask.float().mean())
    if tried.image is not None:
        row["image"] = _image(encode_png(tried.image))[1]
    return row
