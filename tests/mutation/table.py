"""The committed table of mutants: written by a run, read by a test."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.mutation.mutants import Mutant

TABLE = Path(__file__).parents[2] / "docs" / "mutants.md"
HEAD = """# The mutation check

`make mutants` makes each of these mistakes in a copy of the checkout, runs the tests that should
notice, and demands that at least one turns red. Named is the first that did. That command writes
this page; a test keeps it in step with the list in `tests/mutation/mutants`.

| mutant | what it breaks | made in | result | first red test |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant."""

    mutant: Mutant
    result: Literal["killed", "survived", "timed out", "broken"]
    """Only "killed" is good; "broken": no test could be run, or one failed by a wrong name."""
    noticed_by: str
    """`file::test` of the first red test; empty where there is none."""


def as_markdown(outcomes: Iterable[Outcome]) -> str:
    """Return the page."""
    rows = (
        f"| `{o.mutant.name}` | {o.mutant.breaks} | `{o.mutant.file}` | {o.result} | "
        f"`{o.noticed_by}` |\n"
        for o in outcomes
    )
    return HEAD + "".join(rows)


def rows_of(page: str) -> list[tuple[str, ...]]:
    """Return (mutant, what it breaks, file, result, test) of each row of the page."""
    return re.findall(
        r"^\| `(.+?)` \| (.+?) \| `(.+?)` \| (.+?) \| `(.*?)` \|$", page, re.MULTILINE
    )
