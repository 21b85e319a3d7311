"""What `mbpo eval lmms` does: write the tasks, run the command, read its figures back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from flows.console import err
from mbpo_core.evaluation.lmms import workfolder
from mbpo_core.evaluation.lmms.command import Command, build
from mbpo_core.evaluation.lmms.export import export
from mbpo_core.evaluation.lmms.interpreter import Interpreter, inspect
from mbpo_core.evaluation.lmms.record import (
    RESULTS,
    Record,
    lmms_rows,
    write_metrics,
    write_record,
)
from mbpo_core.evaluation.lmms.results import results_files
from mbpo_core.evaluation.lmms.samples import samples_file
from tasks.lmms import store_lmms

DEFAULT_FOLDER = Path(".mbpo/lmms-eval")
_STDERR = 2


@dataclass(frozen=True)
class Asked:
    """The words of the command line; what each means, its help says."""

    path: Path
    tasks: str
    out: Path | None
    name: str | None
    python: str | None
    device: str
    max_pixels: int | None
    limit: int | None
    run: bool
    offline: bool
    questions: tuple[str, ...]
    image_root: tuple[str, ...]
    annotations: Path | None
    scenes: int


def measure(asked: Asked, root: Path, console: Console) -> dict[str, Any]:
    """Do what was asked; tell it on `console`, and return it as JSON values."""
    model = asked.name or asked.path.resolve().name
    folder = asked.out or DEFAULT_FOLDER / model
    tasks = workfolder.expanded([t.strip() for t in asked.tasks.split(",") if t.strip()])
    found = inspect(asked.python or sys.executable)
    data = _data(tasks, list(asked.questions), list(asked.image_root), asked.annotations)
    made = _prepare(tasks, folder, data, asked.scenes)
    line = build(
        asked.path, tasks, folder / RESULTS, python=asked.python or sys.executable,
        device=asked.device, max_pixels=asked.max_pixels,
        include=folder / "tasks" if made else None, limit=asked.limit, offline=asked.offline,
        import_path=found.import_path() if made or asked.device == "cpu" else None,
    )  # fmt: skip
    write_record(folder, Record(model, str(asked.path.resolve()), line.shell(), found.lmms_eval))
    _say(console, line.shell())  # whole and first of all: it can be copied
    if asked.run:
        _run_or_say_why_not(line, folder, found, console)
    return {"command": line.shell(), "folder": folder} | _report(folder, made, root, console)


def _say(console: Console, text: str) -> None:
    """Print a line whole, however long: paths and commands are copied."""
    print(text, file=console.file, flush=True)


def _data(
    tasks: Sequence[str], questions: list[str], roots: list[str], annotations: Path | None
) -> dict[str, workfolder.Data]:
    """Say for each of our tasks where its questions and images are."""
    files, folders = _by_task(questions, "--questions"), _by_task(roots, "--image-root")
    needy = [t for t in tasks if workfolder.base_task(t) not in (None, workfolder.EMBEDDED)]
    unknown = (set(files) | set(folders)) - {*needy, ""}
    if unknown:
        raise ValueError(
            f"--questions or --image-root for {', '.join(sorted(unknown))}: not among the asked "
            f"tasks that need them ({', '.join(needy) or 'none'})"
        )
    if "" in files and len(needy) != 1:
        raise ValueError(f"--questions without TASK= goes with one task of ours, got {len(needy)}")
    found = {}
    for task in needy:
        file, folder = files.get(task, files.get("")), folders.get(task, folders.get(""))
        if file is None:
            raise ValueError(f"{task} needs its question file: --questions {task}=FILE")
        found[task] = workfolder.Data(file, folder, annotations)
    return found


def _by_task(values: list[str], option: str) -> dict[str, Path]:
    """Split TASK=PATH; a plain path is filed under the empty name."""
    found: dict[str, Path] = {}
    for value in values:
        task, equals, place = value.partition("=")
        key, place = (task, place) if equals else ("", value)
        if key in found:
            raise ValueError(f"{option} is given twice for {key or 'the same task'}")
        found[key] = Path(place).expanduser()
    return found


def _prepare(
    tasks: Sequence[str], folder: Path, data: dict[str, workfolder.Data], scenes: int
) -> list[str]:
    """Write the tasks of ours into the work folder and return their names."""
    ours = [task for task in tasks if workfolder.base_task(task) is not None]
    for task in ours:
        workfolder.prepare(task, folder / "tasks", data=data.get(task), scenes=scenes)
    return ours


def _run_or_say_why_not(line: Command, folder: Path, found: Interpreter, console: Console) -> None:
    missing = found.missing()
    if missing is not None:
        _say(
            console,
            "Not run: that interpreter lacks lmms-eval or what it needs. In an environment of its "
            f"own, to be given with --python:\n  {missing}",
        )
        return
    before = set(results_files(folder / RESULTS))
    environment = os.environ | line.environment
    if "PYTHONPATH" in line.environment and os.environ.get("PYTHONPATH"):
        ours, theirs = line.environment["PYTHONPATH"], os.environ["PYTHONPATH"]
        environment["PYTHONPATH"] = os.pathsep.join([ours, theirs])
    done = subprocess.run(line.argv, env=environment, stdout=_stream(console))
    if set(results_files(folder / RESULTS)) == before:
        _fail(
            f"lmms-eval left no results in {folder / RESULTS} (exit status {done.returncode}, "
            f"which is 0 after an error too): what it printed above says why"
        )
    if done.returncode:
        _fail(f"lmms-eval ended with exit status {done.returncode}")


def _fail(why: str) -> NoReturn:
    err.print(why, style="red", markup=False)
    raise typer.Exit(1)


def _stream(console: Console) -> int | None:
    """Return where lmms-eval prints to: stdout is kept free for JSON."""
    return _STDERR if console.stderr else None


def _report(folder: Path, ours: Sequence[str], root: Path, console: Console) -> dict[str, Any]:
    """Write metrics.jsonl and the files for other scorers, and print the table."""
    rows = lmms_rows(folder)
    if not rows:
        return {"metrics": []}
    for path in results_files(folder / RESULTS)[-1:]:
        for task in ours:
            samples = samples_file(path, task)
            documents = folder / "tasks" / f"{task}.jsonl"
            if samples.is_file():
                file = export(task, documents, samples, folder / "responses")
                if file is not None:
                    _say(console, f"answers of {task}: {file}")
    console.print(_table(rows))
    _say(console, f"{len(rows)} rows: {write_metrics(folder, rows)}")
    ref = store_lmms(root, rows).short
    _say(console, f"stored as {ref}: mbpo sql 'select * from metrics'")
    return {"metrics": rows, "ref": ref}


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    title = f"{rows[0]['model']}, lmms-eval {rows[0]['lmms_eval_version']}"
    table = Table("benchmark", "kind", "metric", "value", "n", "judge", title=title)
    for row in rows:
        value = "-" if row["value"] is None else f"{row['value']:.3f}"
        if row["low"] is not None:
            value += f" ({row['low']:.3f}..{row['high']:.3f})"
        table.add_row(row["benchmark"], row["kind"], row["metric"], value, str(row["n"]),
                      row["judge"] or "-")  # fmt: skip
    return table
