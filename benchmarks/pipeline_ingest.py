"""The stage `ingest` over generated pictures: its time, and the memory that it takes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.measure import peak_memory_mib
from benchmarks.stages import run_inline
from benchmarks.timing import taken
from mbpo_core.config import FileSource, IngestConfig, Recipe
from mbpo_core.recipes import load_recipe

Kind = Literal["json", "parquet"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SIDE = 112
PROJECT = Path(__file__).parents[1]


def write_source(folder: Path, images: int, kind: Kind) -> Path:
    """Write so many pictures of noise, one question each, as files or inside of Parquet."""
    (folder / "images").mkdir(parents=True)
    draw = np.random.default_rng(0)
    records = []
    for index in range(images):
        pixels = draw.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        name = f"images/{index}.png"
        records.append(_record(index, name))
        if kind == "json":
            Image.fromarray(pixels).save(folder / name, compress_level=1)
        else:
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
            records[-1]["image"] = {"bytes": stream.getvalue(), "path": name}
    if kind == "json":
        path = folder / "records.json"
        path.write_text(json.dumps(records), encoding="utf-8")
    else:
        path = folder / "records.parquet"
        pq.write_table(pa.Table.from_pylist(records), path, row_group_size=100)
    return path


def _record(index: int, image: str) -> dict[str, Any]:
    return {
        "id": str(index),
        "image": image,
        "conversations": [
            {"from": "human", "value": f"<image>\nWhat is in picture {index % 97}?"},
            {"from": "gpt", "value": f"Noise of kind {index % 89}, and nothing else."},
        ],
    }


def recipe_for(source: Path, shard_rows: int = 512) -> Recipe:
    """Return the embedded recipe with this source."""
    ingest = IngestConfig(
        source=FileSource(path=str(source)), min_pixels=28 * 28, shard_rows=shard_rows
    )
    return load_recipe("mbpo").model_copy(update={"ingest": ingest})


def measure_child(source: Path, root: Path) -> dict[str, float]:
    """Ingest in a process of its own; return rows, seconds and MiB, before and at the peak."""
    words = [sys.executable, "-m", "benchmarks.pipeline_ingest", str(source), str(root)]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ingest failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Ingest and print what it took."""
    source, root = map(Path, sys.argv[1:])
    before = psutil.Process().memory_info().rss / 2**20
    with taken() as seconds:
        made = run_inline(recipe_for(source), root, ["ingest"])
    print(json.dumps({
        "shards": len(made["ingest"].computed), "cpu_seconds": seconds.cpu,
        "before_mib": before, "peak_mib": peak_memory_mib(),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
