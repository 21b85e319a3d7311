"""`mbpo eval lmms`: the exact lmms-eval command for a checkpoint, its run, and its figures."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.table import Table

from flows.console import ROOT, Root, err, errors_in_words
from flows.console import out as console
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


def command(
    path: Annotated[Path, typer.Argument(help="Checkpoint folder (Qwen2-VL or Qwen2.5-VL).")],
    tasks: Annotated[
        str,
        typer.Option(
            help="Comma-separated: any task of lmms-eval, and mbpo_embedded, mmhal_bench, "
            "object_halbench, amber_discriminative."
        ),
    ] = "mbpo_embedded",
    out: Annotated[
        Path | None, typer.Option(help="Output folder; default: .mbpo/lmms-eval/NAME.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Model's name in the rows; default: the folder's.")
    ] = None,
    python: Annotated[
        str | None, typer.Option(help="Interpreter that has lmms-eval; default: this one.")
    ] = None,
    device: Annotated[str, typer.Option(help="cuda, cuda:1, auto (all GPUs) or cpu.")] = "cuda",
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Largest image area; default: the checkpoint's.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="So many questions a task.")] = None,
    run: Annotated[bool, typer.Option(help="Run the command, or only print it.")] = True,
    offline: Annotated[bool, typer.Option(help="Never ask the hub.")] = False,
    questions: Annotated[
        list[str] | None, typer.Option(help="TASK=FILE, or FILE for a single task of ours.")
    ] = None,
    image_root: Annotated[
        list[str] | None, typer.Option(help="TASK=FOLDER, or FOLDER for all tasks of ours.")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="AMBER's annotations.json; default: near its questions.")
    ] = None,
    scenes: Annotated[int, typer.Option(min=1, help="Of mbpo_embedded, for each flavour.")] = 20,
    root: Root = ROOT,
) -> None:
    """Measure a checkpoint with lmms-eval: print the exact command, run it, read its figures back.

    Never measure adversarial images with it: its Qwen wrapper encodes every image again as JPEG.
    """
    model = name or path.resolve().name
    folder = out or DEFAULT_FOLDER / model
    asked = workfolder.expanded([task.strip() for task in tasks.split(",") if task.strip()])
    program = python or sys.executable
    with errors_in_words():
        found = inspect(program)
        data = _data(asked, questions or [], image_root or [], annotations)
        made = _prepare(asked, folder, data, scenes)
        line = build(
            path, asked, folder / RESULTS, python=program, device=device, max_pixels=max_pixels,
            include=folder / "tasks" if made else None, limit=limit, offline=offline,
            import_path=found.import_path() if made or device == "cpu" else None,
        )  # fmt: skip
        write_record(folder, Record(model, str(path.resolve()), line.shell(), found.lmms_eval))
        print(line.shell(), flush=True)  # whole and first of all: it can be copied
        if run:
            _run_or_say_why_not(line, folder, found)
        _report(folder, made, root)


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


def _run_or_say_why_not(line: Command, folder: Path, found: Interpreter) -> None:
    missing = found.missing()
    if missing is not None:
        print(
            "Not run: that interpreter lacks lmms-eval or what it needs. In an environment of its "
            f"own, to be given with --python:\n  {missing}"
        )
        return
    before = set(results_files(folder / RESULTS))
    environment = os.environ | line.environment
    if "PYTHONPATH" in line.environment and os.environ.get("PYTHONPATH"):
        ours, theirs = line.environment["PYTHONPATH"], os.environ["PYTHONPATH"]
        environment["PYTHONPATH"] = os.pathsep.join([ours, theirs])
    done = subprocess.run(line.argv, env=environment)
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


def _report(folder: Path, ours: Sequence[str], root: Path) -> None:
    """Write metrics.jsonl and the files for other scorers, and print the table."""
    rows = lmms_rows(folder)
    if not rows:
        return
    for path in results_files(folder / RESULTS)[-1:]:
        for task in ours:
            samples = samples_file(path, task)
            documents = folder / "tasks" / f"{task}.jsonl"
            if samples.is_file():
                file = export(task, documents, samples, folder / "responses")
                if file is not None:
                    print(f"answers of {task}: {file}")
    console.print(_table(rows))
    print(f"{len(rows)} rows: {write_metrics(folder, rows)}")
    print(f"stored as {store_lmms(root, rows).short}: mbpo sql 'select * from metrics'")


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
