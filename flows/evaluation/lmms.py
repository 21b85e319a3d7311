"""`mbpo eval lmms`: the exact lmms-eval command for a checkpoint, its run, and its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.console import ROOT, AsJson, Root, err, errors_in_words, print_json
from flows.console import out as console


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
    as_json: AsJson = False,
) -> None:
    """Measure a checkpoint with lmms-eval: print the exact command, run it, read its figures back.

    Never measure adversarial images with it: its Qwen wrapper encodes every image again as JPEG.
    """
    from flows.evaluation.lmms_run import Asked, measure  # loads torch

    asked = Asked(
        path, tasks, out, name, python, device, max_pixels, limit, run, offline,
        tuple(questions or ()), tuple(image_root or ()), annotations, scenes,
    )  # fmt: skip
    with errors_in_words():
        done = measure(asked, root, err if as_json else console)
    if as_json:
        print_json(done)
