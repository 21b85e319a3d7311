"""What the commands share: options, errors in words, stages with a progress bar each."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mbpo_core.config import Recipe, parse_override
from storage.errors import StoreError
from tasks.chat import EndpointError
from tasks.failures import TooManyFailuresError
from tasks.inline import inline
from tasks.materialise import Materialised
from tasks.pipeline import Choice, MissingUpstreamError, run_pipeline
from tasks.ray_cluster import RayMissingError
from tasks.runners import open_pool
from tasks.runtime import Runtime
from tasks.shard_pool import ShardFailedError, WorkerDiedError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
ROOT = Path(".mbpo")

Limit = Annotated[int | None, typer.Option(min=1, help="A pilot: so many records and questions.")]
Root = Annotated[Path, typer.Option(help="Folder of the artifacts.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Worker processes on the CPU.")]
Devices = Annotated[
    str, typer.Option(help="Comma-separated devices, as cuda:0,cuda:1; auto = all there are.")
]
How = Annotated[
    list[str] | None,
    typer.Option("--runtime", help="KEY=VALUE of how to run, as runner=ray or max_failures=0.1."),
]
Refresh = Annotated[
    list[str] | None, typer.Option(help="Compute this stage again; may be repeated.")
]


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Print what the user can mend as one message and leave with status 1 (2 for wrong usage)."""
    try:
        yield
    except ValidationError as error:
        for problem in error.errors():
            # What concerns the whole recipe has no place in it.
            where = f"{'.'.join(map(str, problem['loc']))}: " if problem["loc"] else ""
            said = problem["msg"].removeprefix("Value error, ")
            err.print(f"{where}{said}", style="red", markup=False)
        raise typer.Exit(2) from None
    except ValueError as error:
        err.print(str(error), style="red", markup=False)
        raise typer.Exit(2) from None
    except (
        StoreError, MissingUpstreamError, ShardFailedError, WorkerDiedError, EndpointError,
        TooManyFailuresError, FileNotFoundError, RayMissingError,
    ) as error:  # fmt: skip
        err.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from None


def runtime_of(
    root: Path, workers: int | None = None, devices: str = "auto", launcher: str = "",
    how: list[str] | None = None,
) -> Runtime:  # fmt: skip
    """Return how to run, from the words of the command line; `how` are settings of `Runtime`."""
    named = {
        "root": root,
        "workers": workers,
        "devices": tuple(devices.split(",")),
        "train_launcher": tuple(shlex.split(launcher)),
    }
    return Runtime.model_validate(named | dict(parse_override(setting) for setting in how or []))


def run_stages(
    recipe: Recipe, runtime: Runtime, choice: Choice, *, here: bool = False
) -> dict[str, Materialised]:
    """Run stages with a progress bar each and return what they made.

    `here`: in this process, where no model is to be loaded and workers would only take time.
    """
    columns = (TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn(), TextColumn("{task.fields[note]}"))  # fmt: skip
    with Progress(*columns, console=err) as bars, open_pool(runtime) as pool:
        tasks = {stage: bars.add_task(stage, total=None, note="", start=False)
                 for stage in choice.stages()}  # fmt: skip

        def progress(stage: str, done: int, planned: int) -> None:
            bars.start_task(tasks[stage])
            bars.update(tasks[stage], completed=done, total=planned)

        def finished(stage: str, made: Materialised) -> None:
            bars.update(tasks[stage], total=1, completed=1) if made.hit else None
            bars.update(tasks[stage], note=f"{'hit' if made.hit else 'made'} {made.ref.short}")

        def note(text: str) -> None:
            running = [stage for stage in choice.stages() if not bars.tasks[tasks[stage]].finished]
            bars.update(tasks[running[0]], note=text)

        return run_pipeline(
            recipe, runtime, choice, pool, progress=progress, note=note, finished=finished,
            run_shards=inline() if here else None,
        )  # fmt: skip
