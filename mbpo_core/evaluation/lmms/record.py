"""An output folder of `mbpo eval lmms`: what was run for which checkpoint, and its figures.

`command.json` is written before the run, `results/` by lmms-eval, and `metrics.jsonl` after it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from mbpo_core.evaluation.lmms.results import read_results, results_files

RECORD: Final = "command.json"
RESULTS: Final = "results"
METRICS: Final = "metrics.jsonl"


@dataclass(frozen=True)
class Record:
    """What an output folder is about."""

    model: str
    """Name of the model in the rows."""
    checkpoint: str
    """Folder that was evaluated."""
    command: str
    """The latest command line."""
    lmms_eval_version: str | None
    """Version of the package that ran it; None where it was not there to ask."""


def write_record(folder: Path, record: Record) -> None:
    """Write `command.json`.

    Raises:
        ValueError: the folder belongs to another checkpoint, whose figures would mix with these.
    """
    before = read_record(folder)
    if before is not None and (before.model, before.checkpoint) != (
        record.model, record.checkpoint
    ):  # fmt: skip
        raise ValueError(
            f"{folder} has results of {before.model} ({before.checkpoint}): give another --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(record), indent=1, ensure_ascii=False)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def read_record(folder: Path) -> Record | None:
    """Read `command.json`, or return None where there is none.

    Raises:
        ValueError: it is no record; the file is named.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no record of a run: {error}") from None


def lmms_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the figures of an output folder, one row each (see `results.read_results`).

    A task that was run again counts with its latest run only.

    Raises:
        ValueError: a record or results file that cannot be read; the file is named.
    """
    record = read_record(folder)
    name = record.model if record else None
    version = record.lmms_eval_version if record else None
    latest: dict[str, list[dict[str, Any]]] = {}
    for path in results_files(folder / RESULTS):
        found: dict[str, list[dict[str, Any]]] = {}
        for row in read_results(path, model=name, version=version):
            found.setdefault(row["benchmark"], []).append(row)
        latest |= found
    return [row for _, rows in sorted(latest.items()) for row in rows]


def write_metrics(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Write the rows to `metrics.jsonl`, one JSON object a line."""
    path = folder / METRICS
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
