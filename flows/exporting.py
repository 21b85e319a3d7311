"""`mbpo export`: a checkpoint, tables or preference pairs as a folder for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.console import ROOT, AsJson, Ref, Root, errors_in_words, out, print_json
from flows.progress import progress_bar
from storage.store import ArtifactStore

if TYPE_CHECKING:
    from tasks.export import Exported

Format = Annotated[
    str | None,
    typer.Option(
        "--as",
        help="transformers (of a checkpoint), datasets (any tables), trl or llamafactory "
        "(preference pairs). Default: transformers of train, datasets of others.",
    ),
]


def export(
    ref: Ref,
    folder: Annotated[Path, typer.Option("--out", help="The folder to write; it must be new.")],
    format: Format = None,
    dtype: Annotated[
        str | None, typer.Option(help="Of a checkpoint: float32, bfloat16 or float16.")
    ] = None,
    images: Annotated[
        str, typer.Option(help="Of pairs: clean, or negative = the altered image too.")
    ] = "clean",
    force: Annotated[bool, typer.Option(help="Replace a folder that is not empty.")] = False,
    root: Root = ROOT,
    as_json: AsJson = False,
) -> None:
    """Write a checkpoint, tables or pairs for transformers, datasets, TRL or LLaMA-Factory."""
    with errors_in_words():
        if images not in ("clean", "negative"):
            raise ValueError(f"unknown --images {images!r}; there are clean, negative")
        if not root.is_dir():
            raise ValueError(f"no store at {root}; `mbpo run` makes one, --root says where")
        from tasks.export import Asked, export  # not for every command: it loads torch

        asked = Asked(ref, folder, format, dtype, images == "negative", force)
        pairs = format in ("trl", "llamafactory")
        with progress_bar(f"export {ref}", "pairs" if pairs else "") as tell:
            made = export(ArtifactStore(root), asked, tell)
    if as_json:
        print_json(made)
        return
    _tell(made)


def _tell(made: Exported) -> None:
    for table, rows in made.rows.items():
        out.print(f"{table}: {rows} rows", markup=False)
    for reason, count in made.left_out.items():
        out.print(f"left out: {count} groups, {reason}", markup=False)
    words = f"{made.ref} as {made.format}, {made.files} files, {made.bytes / 1e6:.1f} MB"
    out.print(f"{words}: {made.path}", markup=False, soft_wrap=True)
    out.print("README.md is its card; it names no licence: that is yours to say", markup=False)
