"""The ablations of the MBPO paper on the embedded world: `make reproduce`.

    --trials    settings on `dev`, rounds of one trial of every contestant; writes `settings.json`,
                which is committed before anything else is run
    (default)   every row on the final part; each finished run is a line of `runs.jsonl`
    --report    no runs: `results.md` and the figures from the lines that there are

What was interrupted goes on where it was; what is in the committed files is not run again.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
from collections.abc import Iterable
from pathlib import Path

from benchmarks.reproduce.bases import Base, base_model, recorded
from benchmarks.reproduce.figures import figure4, table2
from benchmarks.reproduce.ledger import Ledger
from benchmarks.reproduce.rows import GROUPS, ROWS
from benchmarks.reproduce.runs import Run, run_all, run_of
from benchmarks.reproduce.tables import final_runs, report
from benchmarks.reproduce.trials import (
    ROUNDS,
    SETTINGS,
    committed_settings,
    trials,
    write_settings,
)
from storage.files import atomic_write_text

HERE = Path(__file__).parent
IMAGES = HERE.parents[1] / "docs" / "images"
RUNS = Ledger(HERE / "runs.jsonl")
TRIALS = Ledger(HERE / "trials.jsonl")


def main() -> None:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", action="store_true", help="choose settings on dev")
    parser.add_argument("--rounds", type=int, default=len(ROUNDS), help="of trials")
    parser.add_argument("--report", action="store_true", help="no runs, only page and figures")
    parser.add_argument("--groups", default=",".join(GROUPS), help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--seeds", type=int, help="at most; default: what each group needs")
    parser.add_argument("--bases", default="0,3", help="seeds of the base models; 0: committed")
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--root", type=Path, default=Path("build/reproduce"))
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if unknown := set(given.groups.split(",")) - set(GROUPS):
        parser.error(f"unknown group {min(unknown)!r}; there are {', '.join(GROUPS)}")
    if given.trials:
        choose(given)
        return
    if not given.report:
        run_rows(given)
    write_report()


def choose(given: argparse.Namespace) -> None:
    """Run the trials and write the choice."""
    _wait_for(trials(base_model(0, given.root), given.rounds), TRIALS, given)
    write_settings(TRIALS.read())
    print(f"wrote {SETTINGS.name}: commit it, then run without --trials")


def run_rows(given: argparse.Namespace) -> None:
    """Run the rows of the groups on the final part.

    Raises ValueError where settings are not chosen, or chosen but not committed.
    """
    settings = committed_settings()
    _require_committed(SETTINGS)
    bases = [base_model(int(seed), given.root) for seed in given.bases.split(",")]
    for base in bases:
        recorded(base)
    chosen = [(name, group) for name, group in GROUPS.items() if name in given.groups.split(",")]
    runs: dict[str, Run] = {}
    for _, group in chosen:
        for seed, base, row in _order(group.rows, _seeds(group.seeds, given.seeds), bases):
            each = run_of(ROWS[row], settings, base, "final", seed)
            runs.setdefault(each.name, each)
    _wait_for(runs.values(), RUNS, given)


def _seeds(needed: int, most: int | None) -> int:
    return needed if most is None else min(needed, most)


def _order(rows: Iterable[str], seeds: int, bases: list[Base]) -> list[tuple[int, Base, str]]:
    """Whole pairs early: all rows of a seed and a base model before the next one."""
    return [(seed, base, row) for seed in range(seeds) for base in bases for row in rows]


def _require_committed(path: Path) -> None:
    """Raise ValueError where git knows that a file differs from what is committed."""
    asked = ["git", "status", "--porcelain", "--", path.name]
    done = subprocess.run(asked, cwd=path.parent, capture_output=True, text=True, check=False)
    if done.returncode == 0 and done.stdout:
        raise ValueError(f"{path.name} is not committed: settings are fixed before the final runs")


def _wait_for(runs: Iterable[Run], ledger: Ledger, given: argparse.Namespace) -> None:
    for each, done in run_all(runs, ledger, given.root / "store", at_once=given.at_once):
        print(f"{each.name:50} {done.seconds:6.1f} s", flush=True)


def write_report() -> None:
    """Write the page and the figures from the committed runs."""
    runs = final_runs(RUNS.read(), committed_settings() if SETTINGS.is_file() else {})
    text = report(runs)
    atomic_write_text(HERE / "results.md", text)
    atomic_write_text(IMAGES / "reproduce-table2.svg", table2(runs))
    atomic_write_text(IMAGES / "reproduce-figure4.svg", figure4(runs))
    print(text)


if __name__ == "__main__":
    main()
