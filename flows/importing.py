"""`mbpo import`: check somebody else's preference set and store it as the input of a run."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import (
    ROOT,
    AsJson,
    How,
    Limit,
    Root,
    Workers,
    err,
    errors_in_words,
    out,
    print_json,
    runtime_of,
)
from flows.progress import progress_bar
from mbpo_core.recipes import configured
from storage.files import atomic_write_text
from storage.store import ArtifactStore

if TYPE_CHECKING:
    from mbpo_core.config import Recipe
    from tasks.imports import Imported

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")


def import_(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="JSON, JSONL, Parquet, or datasets folder.")
    ],
    format: Annotated[
        str,
        typer.Option(help="auto, rlhf-v, rlaif-v, bpo, povid, trl, llamafactory or mdpo: what "
                     "every record must be."),
    ] = "auto",
    image_root: Annotated[
        Path | None,
        typer.Option("--image-root", help="Folder that image names are relative to; default: "
                     "that of the source."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Keep the recipe with this source as recipes/NAME.json.")
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="The recipe that is to take it; its settings size the images.")
    ] = "dpo-qwen2-vl-7b",
    limit: Limit = None,
    root: Root = ROOT,
    workers: Workers = None,
    how: How = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Check a preference set row by row and store it, so that a run finds it there.

    Exit status 1: it is stored, but holds no pair that can be used.
    """
    with errors_in_words():
        what = _recipe(recipe, source, image_root, name, limit)
        layouts, found, ref = _imported(what, source, format, limit, root, workers, how)
        words = _next(what, recipe, source, image_root, name, limit, root)
    result = {"format": layouts, **dataclasses.asdict(found), "ref": ref, "next": words}
    if as_json:
        print_json(result)
    else:
        _tell(found, layouts, ref, words)
    if not found.pairs:
        err.print("no pair can be used: see the reasons above, and docs/datasets.md for each")
        raise typer.Exit(1)


def _recipe(
    base: str, source: Path, images: Path | None, name: str | None, limit: int | None
) -> Recipe:
    if name is not None and not _NAME.fullmatch(name):
        raise ValueError(f"--name is of small letters, digits, dots and hyphens, got {name!r}")
    if name is not None:  # the recipe is to be run from anywhere
        source, images = source.absolute(), images and images.absolute()
    files = {"kind": "files", "path": str(source), "image_root": images and str(images)}
    changes: dict[str, Any] = {"ingest.source": files, "respond.sources": ["dataset"]}
    if name is not None:
        changes["name"] = name
    return configured(base, changes, limit)


def _imported(
    what: Recipe, source: Path, format: str, limit: int | None, root: Path, workers: int | None,
    how: list[str] | None,
) -> tuple[dict[str, int], Imported, str]:  # fmt: skip
    """Check and store; return the layouts, what was found, and the artifact."""
    from flows.console import run_stages
    from tasks.imports import find_layouts, imported
    from tasks.order import Choice

    with progress_bar("check", "records") as tell:
        layouts = find_layouts(source, limit, format, tell)
    runtime = runtime_of(root, workers, "cpu", how=how)
    made = run_stages(what, runtime, Choice(only=("ingest",)))["ingest"].ref
    return layouts, imported(ArtifactStore(root), made), made.short


def _next(
    what: Recipe, base: str, source: Path, images: Path | None, name: str | None,
    limit: int | None, root: Path,
) -> str:  # fmt: skip
    """Return the command that goes on from here; with a name its recipe is kept first."""
    words = ["mbpo", "run"]
    if name is not None:
        path = root / "recipes" / f"{name}.json"
        atomic_write_text(path, json.dumps(what.model_dump(mode="json"), indent=1) + "\n")
        words += [str(path)]
    else:
        words += [base, "--source", str(source)]
        words += ["--image-root", str(images)] if images else []
        words += ["--limit", str(limit)] if limit else []
        given = configured(base, {}).respond.sources
        words += [] if given == ("dataset",) else ["--set", 'respond.sources=["dataset"]']
    return shlex.join([*words, *(["--root", str(root)] if root != ROOT else [])])


def _tell(found: Imported, layouts: dict[str, int], ref: str, words: str) -> None:
    listed = ", ".join(f"{name} ({count} records)" for name, count in layouts.items())
    out.print(f"format: {listed}", markup=False)
    out.print(f"{found.records} records, {found.rows} rows: {found.pairs} pairs, "
              f"{found.without_pair} without a rejected response")  # fmt: skip
    for each in found.refused:
        example = each.example
        out.print(f"refused: {each.count} {each.reason}, {each.meaning}", markup=False)
        said = f"{example['detail']} ({example['question']})" if example["question"] else (
            example["detail"])  # fmt: skip
        out.print(f"  as record {example['record']}, turn {example['turn']}: {said}", markup=False,
                  soft_wrap=True)  # fmt: skip
    out.print(f"stored as {ref}; to train on it:", markup=False)
    out.print(f"  {words}", markup=False, soft_wrap=True)
