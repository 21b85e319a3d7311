"""All recipes on the embedded world, side by side: `python -m benchmarks.compare`.

    --trials   the learning rates of every row on `dev`, one seed: prints the best of each row;
               they are then written into the recipes
    (default)  every row with every seed on `test`, which nothing else ever reads; writes
               `benchmarks/compare/results.json` and `table.md`

Runs are cached under `--root` by row, seed and settings; what was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.compare.rows import BASE_FROM, RATES, STEPS, Row, rows
from benchmarks.compare.runs import Run, finished, run_all
from benchmarks.compare.table import COLUMNS, figures, markdown, quality, summary
from storage.files import atomic_write_text
from tasks.materialise import code_revision

HERE = Path(__file__).parent
SHOWN = tuple(COLUMNS)[:6]


def main() -> None:
    """Run what was asked for and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", action="store_true", help="learning rates on dev, one seed")
    parser.add_argument("--rows", default="", help="comma-separated names; default: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scenes", type=int, default=100, help="of each split")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--root", type=Path, default=Path("build/compare"))
    parser.add_argument("--output", type=Path, default=HERE)
    given = parser.parse_args()
    chosen = [row for row in rows() if not given.rows or row.name in given.rows.split(",")]
    if given.trials:
        trials(chosen, given)
    else:
        compare(chosen, given)


def trials(chosen: list[Row], given: argparse.Namespace) -> None:
    """Run every row at every rate on `dev` and print which was best."""
    runs = [Run(row, "dev", 0, rate, given.scenes) for row in chosen for rate in RATES]
    _wait_for(runs, given)
    table: dict[str, dict[str, float]] = {}
    for each in runs:
        if done := finished(each, given.root):
            rates = table.setdefault(each.row.name, {})
            rates[f"{each.rate:g}"] = round(quality(figures(done.metrics)), 4)
    for name, rates in table.items():
        best = max(rates, key=lambda rate: rates[rate])
        print(f"{name:28} {rates} -> {best}")
    atomic_write_text(given.output / "trials.json", json.dumps(table, indent=1) + "\n")


def compare(chosen: list[Row], given: argparse.Namespace) -> None:
    """Run every row with every seed on `test`, then write figures and table."""
    runs = [Run(row, "test", seed, None, given.scenes)
            for seed in range(given.seeds) for row in chosen]  # fmt: skip
    _wait_for(runs, given)
    table = {"base": _row([r for r in runs if r.row.name == BASE_FROM][:1], given.root, "base")}
    for row in chosen:
        table[row.name] = _row([r for r in runs if r.row == row], given.root)
    revision, dirty = code_revision()
    record = {
        "machine": f"{platform.machine()}, torch {torch.__version__}",
        "revision": revision + ("+" if dirty else ""),
        "steps": STEPS,
        "scenes": given.scenes,
        "rows": table,
    }
    text = markdown(table, SHOWN)
    atomic_write_text(given.output / "results.json", json.dumps(record, indent=1) + "\n")
    atomic_write_text(given.output / "table.md", text)
    print(text)


def _row(runs: list[Run], root: Path, model: str = "trained") -> dict[str, Any]:
    done = [found for each in runs if (found := finished(each, root))]
    cells = summary([figures(found.metrics, model) for found in done])
    return {
        "seeds": len(done),
        "cells": {name: asdict(cell) if cell else None for name, cell in cells.items()},
        "runs": [
            {"seconds": found.seconds, "groups": found.groups, "rate": found.learning_rate}
            | figures(found.metrics, model)
            for found in done
        ],
    }


def _wait_for(runs: list[Run], given: argparse.Namespace) -> None:
    for each, done in run_all(runs, given.root, at_once=given.at_once):
        print(f"{each.name:44} {done.seconds:6.1f} s  {done.steps} steps", flush=True)


if __name__ == "__main__":
    main()
