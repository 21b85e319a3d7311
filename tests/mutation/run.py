"""Does a test notice? Makes each mistake of a list in a copy of the checkout and runs the tests.

    python -m tests.mutation.run [NAME ...] [--write docs/mutants.md] [--limit SECONDS]

The work tree is only read. Without a mistake all the tests that are asked for must pass; else
nothing is said about any mutant. Ends with 1 unless every mutant is killed.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.mutation.mutants import MUTANTS, Mutant
from tests.mutation.table import Outcome, as_markdown

ROOT = Path(__file__).parents[2]
PARTS = ("mbpo_core", "storage", "tasks", "flows", "deployments", "tests", "pyproject.toml")
"""What is copied: all that tests of the method may import."""

NOT_A_MISTAKE = ("NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError")
"""A test that fails by one of these noticed a badly written mutant, not what it stands for."""


@dataclass(frozen=True)
class Run:
    """One run of pytest; both are empty where it ran out of time."""

    code: int | None
    """Exit code: 0 all green, 1 a test red, anything else no verdict."""
    first_red: tuple[str, str] = ("", "")
    """`file::test` and message of the first test that failed."""
    output: str = ""
    """What it printed."""


def check(
    root: Path, mutants: Sequence[Mutant], *, parts: Iterable[str] = PARTS, limit: float = 300.0
) -> Iterator[Outcome]:
    """Try the mutants one by one.

    Args:
        root: the checkout.
        mutants: what to try.
        parts: files and folders of the checkout that the tests need.
        limit: seconds for the tests of one mutant.

    Raises:
        ValueError: where a mutant does not fit, or the tests are red without any.
    """
    sources = {mutant: (root / mutant.file).read_text() for mutant in mutants}
    mutated = {mutant: mutant.applied(source) for mutant, source in sources.items()}
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder)
        _copy(root, copy, parts)
        asked = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
        unchanged = _pytest(copy, asked, None)
        if unchanged.code != 0:
            raise ValueError(f"the tests are red without any mutant:\n{unchanged.output[-3000:]}")
        for mutant in mutants:
            (copy / mutant.file).write_text(mutated[mutant])
            yield _judged(mutant, _pytest(copy, mutant.tests, limit))
            (copy / mutant.file).write_text(sources[mutant])


def _copy(root: Path, copy: Path, parts: Iterable[str]) -> None:
    for part in parts:
        if (root / part).is_dir():
            shutil.copytree(root / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / part, copy / part)


def _pytest(copy: Path, tests: Sequence[str], limit: float | None) -> Run:
    """Run tests in the copy until the first red one."""
    report = copy / "report.xml"
    report.unlink(missing_ok=True)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "slow or not slow", f"--rootdir={copy}"]
    options += ["--hypothesis-seed=0", f"--junitxml={report}", "-o", "junit_family=xunit1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=copy,
        # No byte code: two mutants of one size, made in one second, would share it.
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            return Run(None)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return Run(process.returncode, _first_red(report), output)


def _first_red(report: Path) -> tuple[str, str]:
    if not report.is_file():
        return "", ""
    for case in ElementTree.parse(report).iter("testcase"):
        for problem in (*case.findall("failure"), *case.findall("error")):
            name = case.get("name", "").split("[")[0]
            return f"{case.get('file')}::{name}", problem.get("message", "")
    return "", ""


def _judged(mutant: Mutant, run: Run) -> Outcome:
    test, message = run.first_red
    if run.code is None:
        return Outcome(mutant, "timed out", "")
    if run.code == 0:
        return Outcome(mutant, "survived", "")
    if run.code != 1 or message.startswith(NOT_A_MISTAKE):
        return Outcome(mutant, "broken", test)
    return Outcome(mutant, "killed", test)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation.run")
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants to try; none = all")
    parser.add_argument("--write", type=Path, help="the table to write (of all mutants only)")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one mutant")
    asked = parser.parse_args(arguments)
    by_name = {mutant.name: mutant for mutant in MUTANTS}
    if unknown := sorted(set(asked.names) - set(by_name)):
        parser.error(f"no mutant is called {', '.join(unknown)}")
    if asked.names and asked.write:
        parser.error("the table is of all mutants: no names with --write")
    chosen = [by_name[name] for name in asked.names] or list(MUTANTS)
    return report(check(ROOT, chosen, limit=asked.limit), len(chosen), asked.write)


def report(outcomes: Iterable[Outcome], count: int, table: Path | None = None) -> int:
    """Print a line per outcome, write the table, return the exit code."""
    done, start = [], time.monotonic()
    for outcome in outcomes:
        done.append(outcome)
        seconds = time.monotonic() - start
        print(
            f"[{len(done)}/{count}, {seconds:.0f} s] {outcome.mutant.name}: {outcome.result}"
            f"{' by ' * bool(outcome.noticed_by)}{outcome.noticed_by}",
            flush=True,
        )
    if table is not None:
        table.write_text(as_markdown(done))
    alive = [outcome.mutant.name for outcome in done if outcome.result != "killed"]
    print(
        f"{len(done) - len(alive)} of {count} killed" + (f"; not: {', '.join(alive)}" * bool(alive))
    )
    return int(bool(alive) or len(done) != count)


if __name__ == "__main__":
    sys.exit(main())
