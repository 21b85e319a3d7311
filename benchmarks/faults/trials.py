"""Trials: one fault, one place, one moment. Each is done once, in lanes side by side."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.faults.world import Broken, World

_TICKET = struct.Struct("<i")


@dataclass(frozen=True)
class Trial:
    """What is done to whom, in which stage."""

    fault: str
    """The family, such as `kill`."""
    case: str
    """Who or what it meets, such as `worker`."""
    stage: str
    number: int = 0

    @property
    def name(self) -> str:
        """Return a name that is a folder's too."""
        words = (self.fault, self.case, self.stage, f"{self.number:02d}")
        return "-".join(words).replace(" ", "_").replace("/", "_")

    def random(self) -> random.Random:
        """Return the trial's own generator: the same moments in every run of the harness."""
        return random.Random(self.name)


@dataclass(frozen=True)
class Outcome:
    """What came of a trial."""

    redone: int = 0
    """Shards that were computed more than once."""
    facts: dict[str, Any] = field(default_factory=dict)


class Skipped(Exception):
    """The fault cannot be made here; the message says why."""


Perform = Callable[[Trial, World, Path], Outcome]
"""Does one trial in an empty folder; raises Broken where a promise was not kept."""


def results(path: Path, world: World) -> dict[str, dict[str, Any]]:
    """Return what is known of trials that were done on this state, by name; the last counts."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = (json.loads(line) for line in lines)
    return {each["name"]: each for each in found if each["basis"] == world.basis(each["stage"])}


def run_trials(
    trials: Sequence[Trial], perform: dict[str, Perform], world: World, noted: Path, lanes: int
) -> None:
    """Do the trials that have not passed yet, `lanes` at a time, and note each in `noted`."""
    known = results(noted, world)
    waiting = [t for t in trials if known.get(t.name, {}).get("state") not in ("passed", "skipped")]
    print(f"{len(trials)} trials, {len(trials) - len(waiting)} done before", flush=True)
    read, write = os.pipe()
    os.set_blocking(read, False)
    children = []
    for _ in range(lanes):
        if not (pid := os.fork()):
            _lane(waiting, perform, world, noted, read)
        children.append(pid)
    # The pipe holds a few thousand tickets; each lane draws the next one.
    for number in range(len(waiting)):
        os.write(write, _TICKET.pack(number))
    for _ in children:
        os.write(write, _TICKET.pack(-1))
    for pid in children:
        os.waitpid(pid, 0)
    os.close(read)
    os.close(write)


def _lane(
    trials: Sequence[Trial],
    perform: dict[str, Perform],
    world: World,
    noted: Path,
    tickets: int,
) -> None:
    try:
        while (number := _ticket(tickets)) >= 0:
            line = attempt(trials[number], perform, world)
            with noted.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
            said = "" if line["state"] == "passed" else f": {line['said']}"
            print(f"{line['state']:7} {line['seconds']:6.1f} s  {line['name']}{said}", flush=True)
    finally:
        os._exit(0)


def _ticket(tickets: int) -> int:
    while True:
        try:
            return _TICKET.unpack(os.read(tickets, _TICKET.size))[0]
        except BlockingIOError:  # the parent has not written it yet
            time.sleep(0.01)


def attempt(trial: Trial, perform: dict[str, Perform], world: World) -> dict[str, Any]:
    """Do one trial and return the line about it; what failed leaves its folder behind."""
    box, started = world.box(trial.name), time.monotonic()
    outcome, state, said = Outcome(), "passed", ""
    try:
        outcome = perform[trial.fault](trial, world, box)
    except Skipped as reason:
        state, said = "skipped", str(reason)
    except Broken as reason:
        state, said = "failed", str(reason)
    except Exception:
        state, said = "failed", traceback.format_exc()
    if state != "failed":
        shutil.rmtree(box, ignore_errors=True)
    return {
        "name": trial.name, "basis": world.basis(trial.stage), **asdict(trial),
        "state": state, "said": said,
        "redone": outcome.redone, "facts": outcome.facts,
        "seconds": round(time.monotonic() - started, 2),
    }  # fmt: skip
