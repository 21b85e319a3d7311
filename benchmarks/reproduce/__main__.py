"""The ablations of the MBPO paper on the embedded world: `make reproduce`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.reproduce.bases import base_model
from benchmarks.reproduce.ledger import Ledger
from benchmarks.reproduce.runs import run_all
from benchmarks.reproduce.trials import trials

HERE = Path(__file__).parent
if __name__ == "__main__":
    rows = trials(base_model(0, Path("build/reproduce")))
    for each, done in run_all(rows, Ledger(HERE / "trials.jsonl"), Path("build/reproduce/store")):
        print(f"{each.name:50} {done.seconds:6.1f} s", flush=True)
