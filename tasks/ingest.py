"""ingest -> samples: conversations and images become rows; what cannot be read says why."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mbpo_core.config import EmbeddedSource, FileSource, IngestConfig, Recipe
from mbpo_core.data.images import ImagePolicy
from mbpo_core.data.samples import Repeats, Sample, read_samples
from mbpo_core.data.sources import ImageRoot, LinkedFolder
from mbpo_core.testbed.world import POOL_KINDS, write_world
from storage.store import Coverage
from storage.tables import IMAGE, TableSpec
from tasks.runtime import Runtime
from tasks.source_facts import count_records, fingerprint
from tasks.sources import Record, load_records
from tasks.stage import Job, ShardRows, Stage, slices

SAMPLES = TableSpec(
    "samples",
    pa.schema(
        [
            ("sample_id", pa.string()),
            ("source_id", pa.string()),
            ("source_index", pa.int64()),
            ("turn", pa.int32()),
            ("image_id", pa.string()),
            ("image", IMAGE),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("question", pa.string()),
            ("response", pa.string()),
            ("rejected", pa.string()),
            ("closed_kind", pa.string()),
            ("closed_answer", pa.string()),
            ("options", pa.list_(pa.struct([("letter", pa.string()), ("text", pa.string())]))),
            ("reason", pa.string()),
            ("detail", pa.string()),
        ]
    ),
    image_columns=("image",),
)
FACTOR = 28
"""Pixels a visual token of Qwen2-VL and Qwen2.5-VL is wide: patch size 14, merged two by two."""


class Ingest(Stage):
    """Read the source under one policy for images."""

    name = "ingest"
    tables = (SAMPLES,)
    seeded = False
    libraries = ("transformers", "pillow", "pyarrow")

    def external(self, recipe: Recipe, runtime: Runtime) -> dict[str, str]:
        """Return the content of the source; the embedded one follows from config and code."""
        source = recipe.ingest.source
        if isinstance(source, EmbeddedSource):
            return {}
        path = Path(source.path)
        return {"source": fingerprint(path, _image_root(source), runtime.root)}

    def shards(self, job: Job) -> int:
        """Return one shard for every `shard_rows` records."""
        return len(slices(record_count(job.recipe, job.store.root), job.recipe.ingest.shard_rows))

    def run(self, job: Job, shard: int) -> ShardRows:
        """Read one run of records."""
        config = job.recipe.ingest
        records, image_root = _open(config, job.store.staging(self.name, job.key))
        part = slices(len(records), config.shard_rows)[shard]
        policy = ImagePolicy(
            factor=FACTOR,
            min_pixels=config.min_pixels,
            max_pixels=config.max_pixels,
            max_source_pixels=config.max_source_pixels,
        )
        samples = read_samples(
            records,
            part,
            image_root=image_root,
            policy=policy,
            long_yes_no=config.long_yes_no,
            repeats=_repeats(config, image_root),
        )
        return ShardRows({"samples": [_row(sample) for sample in samples]})

    def coverage(self, job: Job) -> list[Coverage]:
        """Every record has at least one row, and no id stands twice."""
        indices = pa.array(np.arange(record_count(job.recipe, job.store.root)))
        return [
            Coverage("samples", "source_index", indices),
            Coverage("samples", "sample_id", [], unique=True),
        ]


def record_count(recipe: Recipe, root: Path) -> int:
    """Return how many records will be read; what was counted is remembered below `root`."""
    config = recipe.ingest
    if isinstance(config.source, EmbeddedSource):
        count = config.source.scenes * len(POOL_KINDS)
    else:
        count = count_records(Path(config.source.path), root)
    return count if config.limit is None else min(count, config.limit)


def _open(config: IngestConfig, staging: Path) -> tuple[Sequence[Record], ImageRoot]:
    """Return the records and the folder of their images; the embedded world is written first."""
    if isinstance(config.source, EmbeddedSource):
        path = _world(staging / "work" / "world", config.source)
        image_root = path.parent
    else:
        path = Path(config.source.path)
        image_root = _image_root(config.source)
    return load_records(path)[: config.limit], image_root


def _image_root(source: FileSource) -> ImageRoot:
    folder = Path(source.image_root or Path(source.path).parent)
    return LinkedFolder(folder) if source.follow_links else folder


@lru_cache(maxsize=1)
def _repeats(config: IngestConfig, image_root: ImageRoot) -> Repeats:
    """Return where the texts of a source stand; read once a process."""
    if isinstance(config.source, EmbeddedSource):
        assert isinstance(image_root, Path)
        path = _pool(image_root)
    else:
        path = Path(config.source.path)
    return Repeats(load_records(path)[: config.limit], image_root)


def _world(folder: Path, source: EmbeddedSource) -> Path:
    """Write the embedded world once; of several workers the first wins."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent))
        write_world(made, "pool", source.scenes, source.seed)
        try:
            os.rename(made, folder)
        except OSError:
            shutil.rmtree(made)
    return _pool(folder)


def _pool(folder: Path) -> Path:
    return folder / "pool.json"


def _row(sample: Sample) -> dict[str, Any]:
    fields = vars(sample) | {
        "options": [{"letter": letter, "text": text} for letter, text in sample.options],
        "image": None,
    }
    png = fields.pop("image_png")
    if png is not None:
        fields["image"] = {"bytes": png, "path": f"{sample.image_id}.png"}
    return fields
