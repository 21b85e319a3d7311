"""What is committed of the trials: one row for each fault and whom it met."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from storage.files import atomic_write_text

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->"


def rows_of(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sum the notes of trials up by fault and case, in the order in which they first come."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in lines:
        rows.setdefault((line["fault"], line["case"]), []).append(line)
    return [
        {
            "fault": fault,
            "case": case,
            "stages": sorted({line["stage"] for line in found}),
            "trials": len(found),
            "passed": sum(line["state"] == "passed" for line in found),
            "skipped": sum(line["state"] == "skipped" for line in found),
            "redone_at_most": max(line["redone"] for line in found),
            "seconds": round(sum(line["seconds"] for line in found)),
        }
        for (fault, case), found in rows.items()
    ]


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Return the rows as a table of a page."""
    text = "| fault | met | stages | trials | passed | shards redone, at most |\n"
    text += "|---|---|---|---|---|---|\n"
    for row in rows:
        cells = (row["fault"], row["case"], len(row["stages"]), row["trials"], row["passed"],
                 row["redone_at_most"])  # fmt: skip
        text += f"| {' | '.join(map(str, cells))} |\n"
    return text


def with_table(page: str, text: str) -> str:
    """Return a page with another table between its marks."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + text + END + rest.split(END, 1)[1]


def merged(old: Iterable[dict[str, Any]], new: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the old rows with what is new: of all their stages in their place, of others added.

    Raises ValueError where a row was done again for some of its stages only.
    """
    found = {(row["fault"], row["case"]): row for row in old}
    for row in new:
        name = row["fault"], row["case"]
        before = found.get(name)
        if before is None or set(before["stages"]) <= set(row["stages"]):
            found[name] = row
        elif set(before["stages"]) & set(row["stages"]):
            raise ValueError(f"{' '.join(name)}: do it again for all of {before['stages']}")
        else:
            found[name] = _added(before, row)
    return list(found.values())


def _added(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    sums = {name: a[name] + b[name] for name in ("trials", "passed", "skipped", "seconds")}
    most = max(a["redone_at_most"], b["redone_at_most"])
    return a | sums | {"stages": sorted(a["stages"] + b["stages"]), "redone_at_most": most}


def write(lines: Iterable[dict[str, Any]]) -> None:
    """Write the committed results and the page's table; what was not done again stays."""
    rows = merged(json.loads(RESULTS.read_text(encoding="utf-8")), rows_of(lines))
    atomic_write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
    atomic_write_text(PAGE, with_table(PAGE.read_text(encoding="utf-8"), table(rows)))
