"""From a benchmark in a recipe to its questions, its scorer and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mbpo_core.config import Benchmark as BenchmarkConfig
from mbpo_core.config import (
    EmbeddedBenchmark,
    GivenResponses,
    HeldOutBenchmark,
    PublishedBenchmark,
    Recipe,
)
from mbpo_core.data.sources import ImageRoot, LinkedFolder
from mbpo_core.evaluation import embedded, held_out
from mbpo_core.evaluation.benchmarks import BENCHMARKS, load
from mbpo_core.evaluation.join import Joined, Keys, join, join_in_order
from mbpo_core.evaluation.protocol import Benchmark, BenchmarkError, Blocks, Question
from storage.refs import ArtifactRef
from storage.store import ArtifactStore
from tasks.benchmark_files import answer_records, fingerprint_files, read_files
from tasks.clock import around_the_model
from tasks.rows import fetch, read, read_where


def blocks_of(name: str) -> Blocks:
    """Return the figures of a benchmark by its name in tables."""
    if name.startswith("embedded/"):
        return embedded.blocks
    return held_out.blocks if name == "held_out" else BENCHMARKS[name].blocks


def published(config: PublishedBenchmark) -> Benchmark:
    """Return a published benchmark as its files make it; read once for equal files."""
    return _published(config, fingerprint_files(config.questions))


@lru_cache(maxsize=8)
@around_the_model()
def _published(config: PublishedBenchmark, content: str) -> Benchmark:
    return load(config.kind, read_files(config.questions))


def asked(
    config: BenchmarkConfig,
    recipe: Recipe,
    store: ArtifactStore,
    inputs: Mapping[str, ArtifactRef],
    *,
    images: bool,
) -> Benchmark:
    """Return a benchmark with its questions.

    Args:
        config: of the recipe.
        recipe: decides which samples are held out.
        store, inputs: hold the samples and groups of a held-out benchmark.
        images: also draw or read the pictures that the benchmark does not name by path.
    """
    if isinstance(config, EmbeddedBenchmark):
        return embedded.load(
            config.part, config.split, config.scenes,
            seed=config.seed, blank=config.blank, images=images,
        )  # fmt: skip
    if isinstance(config, HeldOutBenchmark):
        streams = {"offline": recipe.train.offline_epochs, "online": recipe.train.online_epochs}
        trained = {stream for stream, epochs in streams.items() if epochs}
        return held_out.load(_unused(store, inputs, trained, config, images))
    return published(config)


def joined(benchmark: str, questions: Sequence[Question], given: GivenResponses) -> Joined:
    """Return which answer of a file belongs to which question of a benchmark.

    Raises BenchmarkError, naming file and benchmark, where they do not fit.
    """
    definition = BENCHMARKS.get(benchmark)
    records = answer_records(Path(given.path), definition.table if definition else None)
    reading: dict[str, Any] = {} if definition is None else {"response": definition.response}
    try:
        if given.in_order:
            return join_in_order(questions, records, **reading)
        keys: Keys = (("question_id",),)
        if definition is not None:
            keys = definition.keys
            reading |= {"fields": definition.fields, "subset": definition.subset}
        return join(questions, records, keys, partial=given.partial, **reading)
    except BenchmarkError as error:
        raise BenchmarkError(f"{Path(given.path).name}, {benchmark}: {error}") from None


def answered_only(
    config: BenchmarkConfig, questions: Sequence[Question], given: GivenResponses | None
) -> Sequence[Question]:
    """Return the questions that count: of a truth about all of COCO, those that were answered."""
    if given is None or config.name not in BENCHMARKS or not BENCHMARKS[config.name].subset:
        return questions
    found = joined(config.name, questions, given).responses
    return [question for question in questions if question.question_id in found]


def image_root(config: BenchmarkConfig) -> ImageRoot:
    """Return the folder that a benchmark's image names are relative to."""
    if not isinstance(config, PublishedBenchmark):
        return Path()
    first = Path(config.questions[0])
    folder = Path(config.image_root or (first if first.is_dir() else first.parent))
    return LinkedFolder(folder) if config.follow_links else folder


def _unused(
    store: ArtifactStore,
    inputs: Mapping[str, ArtifactRef],
    trained: set[str],
    config: HeldOutBenchmark,
    images: bool,
) -> list[dict[str, Any]]:
    """Return samples that no trained group has: first closed-ended and first open-ended ones."""
    groups = read(store, inputs["pair"], "groups", ["sample_id", "stream", "reason"])
    used = {
        row["sample_id"] for row in groups if row["reason"] is None and row["stream"] in trained
    }
    taken = pa.array(sorted(used), pa.string())
    free = read_where(
        store, inputs["ingest"], "samples", ["sample_id", "closed_kind", "reason"],
        lambda rows: pc.and_(pc.is_null(rows["reason"]),
                             pc.invert(pc.is_in(rows["sample_id"], value_set=taken))),
    ).sort_by("sample_id")  # fmt: skip
    closed = pc.is_valid(free["closed_kind"])
    ids = [
        *free.filter(closed)["sample_id"][: config.closed].to_pylist(),
        *free.filter(pc.invert(closed))["sample_id"][: config.open].to_pylist(),
    ]
    columns = ["sample_id", "image_id", "question", "response", "closed_kind", "closed_answer",
               "options", *(["image"] if images else [])]  # fmt: skip
    found = fetch(store, inputs["ingest"], "samples", ids, columns)
    return [found[i] for i in ids]
