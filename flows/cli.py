"""`mbpo`: the pipeline for people without a server, and the questions that one asks the store."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from flows.completion import complete_recipe, complete_stage
from flows.console import (
    ROOT,
    AsJson,
    Devices,
    How,
    Limit,
    Ref,
    Refresh,
    Root,
    Workers,
    errors_in_words,
    out,
    print_json,
    run_stages,
    runtime_of,
)
from flows.differences import diff, why
from flows.doctor import doctor
from flows.evaluation.app import evaluation
from flows.exporting import export
from flows.housekeeping import gc, tag
from flows.importing import import_
from flows.progress import progress_bar
from flows.report import report
from flows.retrying import retry
from flows.sql import sql
from flows.trace import trace
from flows.trying import try_model
from flows.versions import ls, runs, show
from mbpo_core.config import Recipe, parse_override
from mbpo_core.recipes import configured
from tasks.order import ORDER, Choice

if TYPE_CHECKING:
    from tasks.materialise import Materialised
    from tasks.plan import Planned

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False,
    help="Modality-Balancing Preference Optimization as a cached pipeline.",
)  # fmt: skip
app.add_typer(evaluation, name="eval")
for _command in (ls, runs, show, diff, why, trace, tag, gc, doctor, sql, report, export):
    app.command()(_command)
app.command(name="import")(import_)
app.command("try")(try_model)
app.command()(retry)

Name = Annotated[
    str,
    typer.Argument(help="Shipped recipe, or a .json file.", autocompletion=complete_recipe),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A setting of the recipe, as mine.steps=5.")
]
SourceFile = Annotated[
    str | None, typer.Option("--source", help="JSON, JSONL, Parquet or datasets folder to ingest.")
]
ImageRoot = Annotated[
    str | None, typer.Option("--image-root", help="Folder that image names are relative to.")
]
Launcher = Annotated[
    str,
    typer.Option(
        help="Command that runs training on several devices, as `accelerate launch --config_file "
        "deployments/accelerate/fsdp.yaml --num_processes 8`."
    ),
]


def _recipe(
    name: str, settings: list[str] | None, limit: int | None, source: str | None, images: str | None
) -> Recipe:
    overrides: dict[str, Any] = {}
    if source is not None:
        overrides["ingest.source"] = {"kind": "files", "path": source, "image_root": images}
    elif images is not None:
        overrides["ingest.source.image_root"] = images
    overrides |= dict(parse_override(setting) for setting in settings or [])
    return configured(name, overrides, limit)


@app.command()
def run(
    recipe: Name = "mbpo", limit: Limit = None, settings: Settings = None,
    source: SourceFile = None, image_root: ImageRoot = None,
    start: Annotated[str | None, typer.Option(help="From this stage on.")] = None,
    refresh: Refresh = None,
    root: Root = ROOT, workers: Workers = None, devices: Devices = "auto",
    launcher: Launcher = "", how: How = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Run a recipe from conversations to metrics."""
    with errors_in_words():
        what = _recipe(recipe, settings, limit, source, image_root)
        choice = Choice(start=start, refresh=tuple(refresh or ()))
        made = run_stages(what, runtime_of(root, workers, devices, launcher, how), choice)
    _tell_made(root, made, as_json)


@app.command()
def stage(
    name: Annotated[
        str, typer.Argument(help="ingest, score, select, mine, ...", autocompletion=complete_stage)
    ],
    recipe: Annotated[
        str, typer.Option(help="Shipped recipe, or a .json file.", autocompletion=complete_recipe)
    ] = "mbpo",
    limit: Limit = None, settings: Settings = None,
    source: SourceFile = None, image_root: ImageRoot = None,
    refresh: Annotated[bool, typer.Option(help="Compute it again even if it is there.")] = False,
    root: Root = ROOT, workers: Workers = None, devices: Devices = "auto",
    launcher: Launcher = "", how: How = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Run one stage; what it needs must be in the store."""
    with errors_in_words():
        choice = Choice(only=(name,), refresh=(name,) if refresh else ())
        what = _recipe(recipe, settings, limit, source, image_root)
        made = run_stages(what, runtime_of(root, workers, devices, launcher, how), choice)
    _tell_made(root, made, as_json)


def _tell_made(root: Path, made: dict[str, Materialised], as_json: bool) -> None:
    from flows.summary import results_table

    if as_json:
        print_json({"root": root.absolute(), "stages": made})
    else:
        print(results_table(root))


@app.command(name="plan")
def show_plan(
    recipe: Name = "mbpo", limit: Limit = None, settings: Settings = None,
    source: SourceFile = None, image_root: ImageRoot = None, root: Root = ROOT,
    how: How = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Tell what a run would do with each stage, and why, before any GPU is used."""
    from tasks.plan import plan

    with errors_in_words():
        what = _recipe(recipe, settings, limit, source, image_root)
        with progress_bar("plan", "stages") as tell:
            tell(0, len(ORDER))
            planned = plan(what, runtime_of(root, how=how), lambda stage: tell(1, what=stage))
        if as_json:
            print_json({"recipe": what.name, "stages": planned})
            return
        table = Table("stage", "state", "rows", "time", "MB", "why", title=what.name)
        for step in planned:
            table.add_row(step.stage, step.state, *_amounts(step), "\n".join(step.why[:6]))
        out.print(table)
        out.print("time: on one worker, as measured on the latest version with the same models; "
                  "~ counted from sizes; ? unknown: a pilot (run --limit 32) tells")  # fmt: skip


def _amounts(step: Planned) -> tuple[str, str, str]:
    known = step.state == "hit"
    about = "~" if step.cost.basis == "counted" else ""
    rows = "?" if step.rows is None else f"{'' if known else '<= '}{step.rows}"
    time = "?" if step.cost.seconds is None else f"{about}{_duration(step.cost.seconds)}"
    size = "?" if step.cost.bytes is None else f"{about}{step.cost.bytes / 1e6:.1f}"
    return rows, time, size


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 3600:.1f} h"


@app.command()
def gallery(
    ref: Ref,
    file: Annotated[
        Path | None, typer.Option("--out", help="The PNG; default: gallery/ below the root.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="How many samples to show.")] = 8,
    root: Root = ROOT,
    as_json: AsJson = False,
) -> None:
    """Draw mined images to look at: clean, negative, difference x8, and the responses."""
    from storage.store import ArtifactStore
    from tasks.gallery import draw_gallery

    with errors_in_words():
        sheet, mined = draw_gallery(ArtifactStore(root), ref, rows)
        path = file or root / "gallery" / f"{mined.short.replace('/', '-')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, format="PNG")
    if as_json:
        print_json({"ref": mined.short, "path": path.absolute(), "width": sheet.width,
                    "height": sheet.height})  # fmt: skip
        return
    out.print(
        f"{sheet.width} x {sheet.height} pixels: {path.absolute()}", markup=False, soft_wrap=True
    )


def main() -> None:
    """Run the command line."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    app()


if __name__ == "__main__":
    main()
