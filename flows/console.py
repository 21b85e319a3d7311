"""What the commands share: options, JSON, errors in words, stages with a progress bar each.

Whatever loads torch is imported where it is used: completing a word of the command line loads
every command, and must not take seconds.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from flows.completion import complete_ref
from flows.progress import RateColumn
from mbpo_core.config import Recipe, parse_override
from storage.errors import StoreError
from tasks.chat import EndpointError
from tasks.failures import TooManyFailuresError
from tasks.order import Choice, MissingUpstreamError
from tasks.ray_cluster import RayMissingError
from tasks.runtime import Runtime
from tasks.shard_pool import ShardFailedError, WorkerDiedError

if TYPE_CHECKING:
    from tasks.materialise import Materialised

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
ROOT = Path(".mbpo")
_WIDE = 160

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
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON to stdout, and nothing else there.")
]
Ref = Annotated[
    str,
    typer.Argument(
        help="mine/1a2b, mine (the latest), negatives, a tag, or TAG/mine of a run.",
        autocompletion=complete_ref,
    ),
]


def print_json(value: Any) -> None:
    """Print a value as JSON: dataclasses as objects, paths and times as text, NaN as null."""
    typer.echo(json.dumps(_plain(value), indent=1, ensure_ascii=False, default=str))


def print_wide(table: Table) -> None:
    """Print a table of many columns: as wide as it must be where no terminal limits it."""
    wide = out if out.is_terminal else Console(highlight=False, width=max(out.width, _WIDE))
    wide.print(table)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return _plain(named)
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else value


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
    from tasks.inline import inline
    from tasks.pipeline import run_pipeline
    from tasks.runners import open_pool

    columns = (TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(),
               RateColumn("shards"), TimeRemainingColumn(elapsed_when_finished=True),
               TextColumn("{task.fields[note]}"))  # fmt: skip
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
