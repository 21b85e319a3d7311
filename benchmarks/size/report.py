"""The committed figures of the runs as the Markdown tables of `docs/scale.md`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cost_work import largest

Run = Mapping[str, Any]
FLAT_FROM = 10_000
"""Memory is compared from this size on: below it, shards are not full."""
WATCHED = ("ingest", "score", "mine", "respond", "pair", "train")
"""Stages whose workers are watched for growth."""
_ASKED = {
    "`plan`": "plan", "catalogue, made anew": "catalogue", "`select count(*)`": "sql_count",
    "reasons of the selection": "sql_reasons", "four tables joined, top 10": "sql_join",
}  # fmt: skip


def stages(runs: Sequence[Run]) -> list[str]:
    """Return what a shard of each stage costs besides its model, in the largest run that has it."""
    lines = _head(["stage", "records", "shards", "rows", "B/row", "read", "write", "hand over",
                   "worker MiB"])  # fmt: skip
    of = {stage: run["records"] for run in runs for stage in run["stages"]}
    for stage, found in largest(runs).items():
        parts = (found["read_cpu_seconds_a_shard"], found["write_cpu_seconds_a_shard"],
                 found["hand_over_seconds_a_shard"])  # fmt: skip
        size = found["bytes"] / found["rows"]
        lines.append(_line([stage, f"{of[stage]:,}", str(found["shards"]), f"{found['rows']:,}",
                            "" if stage == "train" else f"{size:,.0f}",
                            *(f"{each:.3f}" for each in parts),
                            f"{found['worker_mib']:.0f}"]))  # fmt: skip
    return lines


def sizes(runs: Sequence[Run]) -> list[str]:
    """Return memory, CPU seconds and questions against the number of records."""
    lines = _head(["", *(f"{run['records']:,}" for run in runs)])

    def add(name: str, values: Sequence[str]) -> None:
        lines.append(_line([name, *values]))

    add("task runs", [str(run["task_runs"]) for run in runs])
    add("Prefect's database, MB", [f"{run['prefect_bytes'] / 1e6:.1f}" for run in runs])
    for stage in WATCHED:
        found = [run["stages"].get(stage, {}).get("worker_mib") for run in runs]
        add(f"MiB, worker in `{stage}`", ["not run" if mib is None else f"{mib:.0f}"
                                          for mib in found])  # fmt: skip
    for role in ("flow", "server"):
        add(f"MiB, {role}", [f"{run['peak_mib'][role]:.0f}" for run in runs])
    for role in ("worker", "flow", "server"):
        add(f"CPU s, {role}", [f"{run['cpu_seconds'][role]:.0f}" for run in runs])
    for name, key in _ASKED.items():
        add(f"{name}, CPU s", [f"{run['asked'][f'{key}_cpu_seconds']:.2f}" for run in runs])
    return lines


def slope(runs: Sequence[Run], stage: str | None = None) -> float:
    """Return MiB that a stage's worker (None: the flow) grows by for every 100,000 records."""
    found = [
        (run["records"], run["stages"][stage]["worker_mib"] if stage else run["peak_mib"]["flow"])
        for run in runs
        if run["records"] >= FLAT_FROM and (stage is None or stage in run["stages"])
    ]
    (few, less), *_, (many, more) = found
    return (more - less) / (many - few) * 100_000


def _head(names: Sequence[str]) -> list[str]:
    return [_line(names), "|---" + "|--:" * (len(names) - 1) + "|"]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the tables of the committed figures."""
    runs = json.loads((Path(__file__).parent / "results.json").read_text(encoding="utf-8"))["runs"]
    print("\n".join([*stages(runs), "", *sizes(runs), ""]))
    print({each or "flow": round(slope(runs, each)) for each in (*WATCHED, None)})


if __name__ == "__main__":
    main()
