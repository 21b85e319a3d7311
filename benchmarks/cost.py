"""What the paper's run costs: `python -m benchmarks.cost [--tflops 350] [--gpus 1,8,64]`.

Bytes, CPU seconds and what a shard costs besides its model are measured (`benchmarks/size`);
operations are counted; TFLOP/s, memory bandwidth and the like are assumed until they are given, or
until `make bench-gpu` left a report, whose TFLOP/s are then taken. `docs/scale.md` has the formula.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cost_work import Assumed, Costs, Work
from benchmarks.gpu_report import RESULTS as GPU_REPORTS
from mbpo_core.recipes import configured

MEASURED = Path(__file__).parent / "size" / "results.json"
RECIPE = "mbpo-qwen2-vl-7b"
SIZE = 163_000
GPUS = (1, 8, 64)


def wall(work: Work, gpus: int, assumed: Assumed, hashed: float) -> float:
    """Return seconds on so many GPUs, each with a worker: whole waves of shards, then the commit.

    `hashed` is bytes a second that the commit reads, one process alone.
    """
    total = work.bytes * work.rows
    load = assumed.load if work.device else 0.0
    if work.ranks is not None:
        ranks = min(gpus, work.ranks)
        share = work.device / (ranks * (assumed.efficiency if ranks > 1 else 1.0))
        return work.rows * (share + work.cpu / ranks) + load + total / (assumed.disk * 1e9)
    rows = work.rows / work.shards
    shard = rows * (work.device + work.cpu + work.bytes / (assumed.disk * 1e9)) + work.overhead
    return math.ceil(work.shards / gpus) * shard + load + total / hashed


def table(costs: Costs, gpus: Sequence[int] = GPUS) -> list[str]:
    """Return the lines of the Markdown table."""
    heads = ["stage", "rows", "shards", "GPU-hours", "GB", *(f"{n} GPU" for n in gpus)]
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    works = costs.works()
    walls = [[wall(work, n, costs.assumed, costs.hashed) for n in gpus] for work in works]
    for work, times in zip(works, walls, strict=True):
        named = [work.stage, f"{work.rows:,}", str(work.shards)]
        lines.append(_line(named, work.rows * work.device, work.rows * work.bytes, times))
    named = ["**all**", "", str(sum(work.shards for work in works))]
    device, size = (sum(work.rows * getattr(work, what) for work in works)
                    for what in ("device", "bytes"))  # fmt: skip
    return [*lines, _line(named, device, size, [sum(times) for times in zip(*walls, strict=True)])]


def _line(named: Sequence[str], device: float, size: float, walls: Sequence[float]) -> str:
    hours = f"{device / 3600:.1f}" if device else ""
    return "| " + " | ".join([*named, hours, _gigabytes(size), *map(_duration, walls)]) + " |"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f}" if size >= 5e7 else "<0.1"


def _duration(seconds: float) -> str:
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


def measured_tflops(folder: Path) -> dict[str, float]:
    """Return TFLOP/s by stage from the reports of `make bench-gpu`: the best of each part."""
    parts = {"score": ("2b", "score"), "mine": ("7b", "attack"), "train": ("7b", "train LoRA")}
    found: dict[str, float] = {}
    for report in sorted(folder.glob("gpu-*.md")):
        for line in report.read_text(encoding="utf-8").splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            for stage, part in parts.items():
                if tuple(cells[:2]) == part and re.fullmatch(r"[\d.e+-]+", cells[5]):
                    found[stage] = max(found.get(stage, 0.0), float(cells[5]))
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Print the table for what is assumed or given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpus", default="1,8,64", help="numbers of GPUs")
    parser.add_argument("--size", type=int, default=SIZE, help="records")
    for name, value in vars(Assumed()).items():
        parser.add_argument(f"--{name}", type=type(value), default=None, help=f"assumed: {value}")
    given = parser.parse_args(words)
    named = {name: getattr(given, name) for name in vars(Assumed())}
    assumed = Assumed(**{name: value for name, value in named.items() if value is not None})
    tflops = measured_tflops(GPU_REPORTS) if given.tflops is None else {}
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    costs = Costs(configured(RECIPE, {}), given.size, measured, assumed, tflops)
    print("\n".join(table(costs, [int(word) for word in given.gpus.split(",")])))
    print(f"\nassumed: {vars(assumed)}; TFLOP/s measured: {tflops or 'none'}")


if __name__ == "__main__":
    main()
