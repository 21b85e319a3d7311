"""The record of a run: tables of rows in memory, appended to JSON lines as they come.

A resumed run reads the rows back up to its checkpoint's step and drops what came after; the steps
that are done again write the same rows again.
"""

import json
import os
from pathlib import Path
from typing import Any

TABLES = ("steps", "probes", "rollouts", "benchmarks", "skipped")
Row = dict[str, Any]


class TrainingLog:
    """Five tables, each row with the optimiser `step` (1-based) that it belongs to.

    `steps`: one row per optimiser step. `probes`: one per probed candidate and probe. `rollouts`:
    one per sampled response, with text, ids, reward, rule and advantage. `benchmarks`: one per
    figure and measurement. `skipped`: one per group that a step left out, with its reason.
    """

    def __init__(self, folder: Path, *, keep_steps: int, writes: bool = True) -> None:
        """Open the tables of `folder` and keep the rows of steps up to `keep_steps`.

        With `writes` off (all ranks but the first) nothing is read, kept or written. A last line
        without its newline was cut by a kill and is dropped.

        Raises:
            ValueError: where any other line is not JSON, naming file and line.
        """
        self._folder = folder
        self._writes = writes
        self.tables: dict[str, list[Row]] = {name: [] for name in TABLES}
        if not writes:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            rows = [row for row in _read(self._path(name)) if row["step"] <= keep_steps]
            self.tables[name] = rows
            self._rewrite(name, rows)

    def add(self, table: str, rows: list[Row]) -> None:
        """Append rows to a table, in memory and on disk."""
        if not self._writes:
            return
        self.tables[table].extend(rows)
        with self._path(table).open("a", encoding="utf-8") as stream:
            stream.writelines(_line(row) for row in rows)

    def last_step(self, table: str) -> int | None:
        """Step of a table's newest row; None where there is none."""
        rows = self.tables[table]
        return rows[-1]["step"] if rows else None

    def _path(self, table: str) -> Path:
        return self._folder / f"{table}.jsonl"

    def _rewrite(self, table: str, rows: list[Row]) -> None:
        """Replace a file in one move, so that a kill leaves the old one or the new one."""
        fresh = self._path(table).with_suffix(".partial")
        with fresh.open("w", encoding="utf-8") as stream:
            stream.writelines(_line(row) for row in rows)
        os.replace(fresh, self._path(table))


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def _read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")[:-1]  # what follows the last newline is empty or was cut by a kill
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path.name}, line {number} is not JSON: {error}") from error
    return rows
