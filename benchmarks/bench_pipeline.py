"""What the pipeline costs besides its model: `python -m benchmarks.bench_pipeline [PART ...]`.

Parts: `run` (the embedded run on a server of its own, then again, cached), `inline` (the same
stages in this process without Prefect), `select` (a million scores), `ingest` (memory).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch

from benchmarks.measure import print_figures, print_ratio
from benchmarks.pipeline_ingest import KINDS, Kind, measure_child, write_source
from benchmarks.pipeline_run import INLINE_STEPS, bench_inline, bench_run
from benchmarks.pipeline_select import time_select
from benchmarks.timing import one_of
from mbpo_core.config import parse_override
from mbpo_core.recipes import configured

PARTS = ("run", "inline", "select", "ingest")
SELECT_GOAL_SECONDS = 3.0
SELECT_ROUNDS = 3


def bench_select(folder: Path, rows: int) -> None:
    """Print what `select` takes, its key, Parquet and commit included; the median round counts."""
    recipe = configured("mbpo", {}, None)
    rounds, chosen = time_select(folder / "select", recipe, rows, SELECT_ROUNDS)
    cpu, wall = [each.cpu for each in rounds], [each.wall for each in rounds]
    print_figures("select", rows=rows, chosen=chosen, cpu_seconds=median(cpu),
                  least_cpu_seconds=min(cpu), wall_seconds=median(wall),
                  least_wall_seconds=min(wall))  # fmt: skip
    print_ratio("select_goal_over_cpu_seconds", SELECT_GOAL_SECONDS / median(cpu))
    print_ratio("select_goal_over_wall_seconds", SELECT_GOAL_SECONDS / median(wall))


def bench_ingest(folder: Path, images: Sequence[int], kinds: Sequence[Kind]) -> None:
    """Print the peak memory of `ingest` for few and for many pictures, in processes of their own.

    What Python and the libraries take before the first record is subtracted for the second ratio.
    """
    few, many = images
    for kind in kinds:
        found = {}
        for count in (few, many):
            place = folder / f"{kind}-{count}"
            source = write_source(place, count, kind)
            found[count] = measure_child(source, place / "store")
            print_figures(f"ingest {kind}", images=count, **found[count])
        print_ratio(f"ingest_memory_{kind}", found[many]["peak_mib"] / found[few]["peak_mib"])
        grown = {n: max(each["peak_mib"] - each["before_mib"], 1.0) for n, each in found.items()}
        print_ratio(f"ingest_memory_{kind}_above_imports", grown[many] / grown[few])


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and run the parts in a folder that is removed afterwards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", type=one_of(PARTS), metavar="PART")
    parser.add_argument("--limit", type=int, help="records and questions of the embedded run")
    parser.add_argument("--set", action="append", default=[], help="setting of the embedded run")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of scores")
    parser.add_argument("--images", type=int, nargs=2, default=[1000, 10_000])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="of sources")
    given = parser.parse_args(words)
    parts = given.parts or PARTS
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder, outside = Path(name), None
        if "run" in parts:
            outside = bench_run(folder, given.limit, given.set)
        if "inline" in parts:
            settings = dict(map(parse_override, given.set)) | {"train.max_steps": INLINE_STEPS}
            bench_inline(folder, configured("mbpo", settings, given.limit), outside)
        if "select" in parts:
            bench_select(folder, given.rows)
        if "ingest" in parts:
            bench_ingest(folder, given.images, given.kinds)


if __name__ == "__main__":
    main()
