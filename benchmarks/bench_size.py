"""The paper's run with a stub for its models: `python -m benchmarks.bench_size [--sizes N ...]`.

163,000 records, 30,000 pre-selected, 10,000 attacked, the shard sizes of `mbpo-qwen2-vl-7b`;
Parquet, DuckDB, Prefect's server, workers and manifests are real. Goes on where it was cut off, and
leaves a summary in `FOLDER/results.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import print_figures
from benchmarks.size.run import Place, figures, run
from mbpo_core.config import parse_override

SIZES = (2500, 10_000, 40_000, 163_000)
DISTINCT = 4000
RESULTS = "results.json"


def main(words: Sequence[str] | None = None) -> None:
    """Run the sizes that have no result yet, one after the other, and print each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("build/size"),
                        help="sources, stores and results; some 6 GB at full size")  # fmt: skip
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="records")
    parser.add_argument("--distinct", type=int, default=DISTINCT, help="pictures")
    parser.add_argument("--set", action="append", default=[], help="setting of the recipe")
    parser.add_argument("--so-far", action="store_true",
                        help="run nothing: take the stages that a run has done")  # fmt: skip
    given = parser.parse_args(words)
    folder, extra = given.folder.resolve(), dict(map(parse_override, given.set))
    path = folder / RESULTS
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    for records in given.sizes:
        if records in (each["records"] for each in results):
            continue
        measure = figures if given.so_far else run
        results.append(measure(Place(folder, records, given.distinct), extra))
        results.sort(key=lambda each: each["records"])
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for each in results:
        print_run(each)


def print_run(found: dict) -> None:
    """Print a line a stage, and one for the run."""
    for stage, each in found["stages"].items():
        print_figures(f"{found['records']} {stage}", **each)
    print_figures(f"{found['records']} run", flow_seconds=found["flow_seconds"],
                  task_runs=found["task_runs"], prefect_mb=found["prefect_bytes"] / 1e6,
                  **{f"{role}_mib": mib for role, mib in found["peak_mib"].items()},
                  **found["asked"])  # fmt: skip


if __name__ == "__main__":
    main()
