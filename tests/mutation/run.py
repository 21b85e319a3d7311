"""Does a test notice? Makes each mistake of a list in a copy of the checkout and runs the tests.

    python -m tests.mutation.run [NAME ...] [--limit SECONDS]

The code of the work tree is only read. Without a mistake all the tests asked for must pass, else
nothing is said about any mutant (exit code 2). The table in `docs` gets the rows of the mutants
that were tried. Ends with 1 unless all of them were killed.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.mutation.forked import Run, run_tests, warm_up
from tests.mutation.mutants import MUTANTS, Mutant
from tests.mutation.table import TABLE, Outcome, updated

ROOT = Path(__file__).parents[2]
PARTS = ("mbpo_core", "storage", "tasks", "flows", "deployments", "tests", "pyproject.toml")
"""What is copied: all that tests of the method may import."""

WRONG_NAMES = ("NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError")
"""A test that fails by one of these noticed a badly written mutant, not what it stands for."""


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
        unchanged = run_tests(copy, asked, None)
        if unchanged.code != 0:
            raise ValueError(f"the tests are red without any mutant:\n{unchanged.output[-3000:]}")
        for mutant in mutants:
            (copy / mutant.file).write_text(mutated[mutant])
            yield _judged(mutant, run_tests(copy, mutant.tests, limit))
            (copy / mutant.file).write_text(sources[mutant])


def _copy(root: Path, copy: Path, parts: Iterable[str]) -> None:
    for part in parts:
        if (root / part).is_dir():
            shutil.copytree(root / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / part, copy / part)


def _judged(mutant: Mutant, run: Run) -> Outcome:
    if run.code is None:
        return Outcome(mutant, "timed out", "")
    if run.code == 0:
        return Outcome(mutant, "survived", "")
    if run.code != 1 or not run.test or run.message.startswith(WRONG_NAMES):
        return Outcome(mutant, "broken", run.test)
    return Outcome(mutant, "killed", run.test)


def report(outcomes: Iterable[Outcome], count: int, table: Path) -> int:
    """Print a line per outcome as it comes, update the table, return the exit code."""
    done, start = [], time.monotonic()
    for outcome in outcomes:
        done.append(outcome)
        seconds = time.monotonic() - start
        told = f"[{len(done)}/{count}, {seconds:.0f} s] {outcome.mutant.name}: {outcome.result}"
        print(told, f"by {outcome.noticed_by}" if outcome.noticed_by else "", flush=True)
        page = table.read_text() if table.is_file() else ""
        table.write_text(updated(page, MUTANTS, done))
    alive = [outcome.mutant.name for outcome in done if outcome.result != "killed"]
    print(
        f"{len(done) - len(alive)} of {count} killed" + "; not: " * bool(alive) + ", ".join(alive)
    )
    return int(bool(alive) or len(done) != count)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation.run")
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants to try; none = all")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one mutant")
    asked = parser.parse_args(arguments)
    by_name = {mutant.name: mutant for mutant in MUTANTS}
    if unknown := sorted(set(asked.names) - set(by_name)):
        parser.error(f"no mutant is called {', '.join(unknown)}")
    chosen = [by_name[name] for name in asked.names] or list(MUTANTS)
    warm_up()
    try:
        return report(check(ROOT, chosen, limit=asked.limit), len(chosen), TABLE)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
