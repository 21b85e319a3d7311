"""Fuzzes ingest and verifier for as long as it is told: the tests of this folder as targets.

    python -m tests.fuzz.run [--minutes 10] [--target records] [--folder build/fuzz]

Where atheris is installed (`pip install atheris`) every input is made from those that reached new
code before; else hypothesis draws them. A target goes on after a failure: each is told once, with
the input that shows it. Ends with 1 where there was one.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

try:
    import atheris
except ImportError:
    atheris = None

TARGETS = {
    "records": ("test_fuzz_ingest", "test_fuzz_records"),
    "pictures": ("test_fuzz_ingest", "test_fuzz_pictures"),
    "sources": ("test_fuzz_ingest", "test_fuzz_sources"),
    "verdicts": ("test_fuzz_verifier", "test_fuzz_verdicts"),
    "closed_ended": ("test_fuzz_verifier", "test_fuzz_closed_ended"),
    "refusals": ("test_fuzz_verifier", "test_fuzz_refusals"),
}
WATCHED = ["mbpo_core.data", "mbpo_core.rewards", "mbpo_core.responses", "tasks.sources"]
"""Code whose coverage guides the search."""
Target = Callable[[bytes], Any]


class Findings:
    """Runs one target again and again; keeps every failure once, by where it arose."""

    def __init__(self, name: str, minutes: float, folder: Path) -> None:
        self.name, self.minutes, self.folder = name, minutes, folder
        self.executions, self.whole = 0, 0
        self.failures: dict[str, dict[str, str]] = {}
        self._run = load(name)
        self._until = time.monotonic() + 60 * minutes

    def __call__(self, data: bytes) -> None:
        """Run one input; when the time is over, write what was found and end the process."""
        if time.monotonic() > self._until:
            self.write()
            os._exit(1 if self.failures else 0)
        self.executions += 1
        try:
            self.whole += self._run(data) is not None
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
            if place not in self.failures:
                notes = "\n".join(getattr(error, "__notes__", []))
                self.failures[place] = {"input": data.hex(), "error": f"{error}\n{notes}"[:3000]}
                print(f"{place}: {error}"[:2000], flush=True)
                self.write()

    def write(self) -> None:
        """Write and print the state."""
        guided = "random" if atheris is None else "guided by coverage"
        about = {"executions": self.executions, "whole_inputs": self.whole, "inputs": guided}
        path = self.folder / f"{self.name}.json"
        path.write_text(json.dumps(about | {"failures": self.failures}, indent=1), encoding="utf-8")
        print(
            f"{self.name}: {self.executions} executions ({guided}), {self.whole} of them on whole "
            f"inputs, {len(self.failures)} failures",
            flush=True,
        )


def load(name: str) -> Target:
    """Return a target: the body of a hypothesis test, driven by bytes."""
    module, function = TARGETS[name]
    with nullcontext() if atheris is None else atheris.instrument_imports(include=WATCHED):
        found = importlib.import_module(f"tests.fuzz.{module}")
    return getattr(found, function).hypothesis.fuzz_one_input


def fuzz(name: str, minutes: float, folder: Path) -> NoReturn:
    """Fuzz one target; the process ends with 1 if something was found."""
    warnings.simplefilter("ignore")  # of damaged metadata, by Pillow
    findings = Findings(name, minutes, folder)
    draw = random.Random(0)
    if atheris is not None:
        corpus = folder / "corpus" / name
        corpus.mkdir(parents=True, exist_ok=True)
        for number in range(50):  # an input that is too short for one draw reaches nothing
            (corpus / f"seed-{number}").write_bytes(draw.randbytes(20 * (number + 1)))
        options = ["-max_len=4096", "-len_control=0", "-timeout=60", "-rss_limit_mb=4096"]
        options.append(f"-artifact_prefix={folder}/")  # of inputs that are slow: else they lie here
        atheris.Setup([sys.argv[0], *options, str(corpus)], findings)
        atheris.Fuzz()
    while True:
        findings(draw.randbytes(draw.randrange(4096)))


def main() -> int:
    """Fuzz all targets side by side, or one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="per target")
    parser.add_argument("--target", choices=TARGETS, help="default: all, a process each")
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"))
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.target:
        fuzz(asked.target, asked.minutes, asked.folder)
    children = {}
    for name in TARGETS:
        children[name] = os.fork()
        if not children[name]:
            fuzz(name, asked.minutes, asked.folder)
    return max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children.values())


if __name__ == "__main__":
    sys.exit(main())
