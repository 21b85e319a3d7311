"""The committed table of mutants: written by a run, read by a test."""

import re
from collections.abc import Iterable, Sequence
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

    @property
    def row(self) -> str:
        """Its row of the table."""
        cells = f"| {self.mutant.breaks} | `{self.mutant.file}` | {self.result} "
        return f"| `{self.mutant.name}` {cells}| `{self.noticed_by}` |\n"


def updated(page: str, order: Sequence[Mutant], outcomes: Iterable[Outcome]) -> str:
    """Return the page with the rows of these outcomes; rows of other listed mutants stay."""
    found = re.findall(r"^(\| `(.+?)` .*\n)", page, re.MULTILINE)
    rows = {name: line for line, name in found}
    rows |= {outcome.mutant.name: outcome.row for outcome in outcomes}
    return HEAD + "".join(rows[mutant.name] for mutant in order if mutant.name in rows)


def rows_of(page: str) -> list[tuple[str, ...]]:
    """Return (mutant, what it breaks, file, result, test) of each row of the page."""
    return re.findall(
        r"^\| `(.+?)` \| (.+?) \| `(.+?)` \| (.+?) \| `(.*?)` \|$", page, re.MULTILINE
    )
