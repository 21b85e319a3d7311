"""All faults, one after the other: `python -m benchmarks.faults`; see docs/faults.md.

What was done is noted under `--root`: a run that is cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.faults import (
    clocks,
    damage,
    disks,
    kills,
    memory,
    report,
    rivals,
    servers,
)
from benchmarks.faults.trials import Perform, Trial, results, run_trials
from benchmarks.faults.world import open_world

QUICK_STAGES = "score"
FAMILIES = {"kill": kills, "disk": disks, "damage": damage, "two runs": rivals, "clock": clocks,
            "memory": memory, "prefect": servers}  # fmt: skip


def main() -> None:
    """Do the trials that were asked for; exit status 1 if a promise was not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("build/faults"))
    parser.add_argument("--only", default="", help="comma-separated families; default: all")
    parser.add_argument("--match", default="", help="only trials whose name has this in it")
    parser.add_argument("--stages", default="", help="comma-separated; default: all")
    parser.add_argument("--instants", type=int, default=30, help="random ones a stage and victim")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one instant and one stage of each")
    parser.add_argument("--write", action="store_true", help="write results.json and the page")
    given = parser.parse_args()
    if given.quick:
        given.instants, given.stages = 1, given.stages or QUICK_STAGES
    world = open_world(given.root)
    print("the undisturbed run is there", flush=True)
    chosen = [t for t in _trials(given.only, given.instants) if given.match in t.name
              and (not given.stages or t.stage in given.stages.split(","))]  # fmt: skip
    noted = world.folder / "trials.jsonl"
    run_trials(chosen, _performers(), world, noted, given.at_once)
    known = results(noted, world)
    states = [known.get(trial.name, {}).get("state", "not done") for trial in chosen]
    counts = {state: states.count(state) for state in sorted(set(states))}
    print(f"{len(states)} trials: {counts}")
    if given.write:
        report.write(known.values())
    sys.stdout.flush()
    os._exit(0 if set(states) <= {"passed", "skipped"} else 1)  # frozen objects are not taken apart


def _trials(only: str, instants: int) -> list[Trial]:
    names = only.split(",") if only else list(FAMILIES)
    return [trial for name in names for trial in FAMILIES[name].trials(instants)]


def _performers() -> dict[str, Perform]:
    return {name: family.perform for name, family in FAMILIES.items()}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
