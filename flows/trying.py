"""`mbpo try`: ask a trained model and its base about a picture, and about no picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flows.completion import complete_ref
from flows.console import ROOT, AsJson, Root, errors_in_words, out, print_json
from storage.store import ArtifactStore


def try_model(
    ref: Annotated[
        str,
        typer.Argument(help="A checkpoint, as train/1a2b or train.", autocompletion=complete_ref),
    ],
    image: Annotated[Path, typer.Argument(help="An image file.", exists=True, dir_okay=False)],
    questions: Annotated[list[str], typer.Argument(metavar="QUESTION...")],
    tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 128,
    temperature: Annotated[float, typer.Option(min=0, help="0: greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the draws, unless greedy.")] = 0,
    device: Annotated[
        str, typer.Option(help="As cuda:0 or cpu; auto: a GPU if there is one.")
    ] = "auto",
    root: Root = ROOT,
    as_json: AsJson = False,
) -> None:
    """Let base and trained model answer, each on the image and on a black one of the same size."""
    with errors_in_words():
        from tasks.runtime import Runtime
        from tasks.trying import tried

        store = ArtifactStore(root)
        where = Runtime(root=root, devices=(device,)).slots()[0]
        found = tried(
            store, store.resolve(ref), image.read_bytes(), questions, where,
            tokens=tokens, temperature=temperature, seed=seed,
        )  # fmt: skip
    if as_json:
        print_json([
            {"question": question, "answers": [vars(answer) for answer in answers]}
            for question, answers in zip(questions, found, strict=True)
        ])  # fmt: skip
        return
    for question, answers in zip(questions, found, strict=True):
        table = Table("model", "shown", "answer", "IIG, nats a token", title=question)
        for answer in answers:
            cut = "" if answer.finished else " ..."
            table.add_row(answer.model, answer.shown, answer.text + cut, f"{answer.iig_mean:.3f}")
        out.print(table, markup=False)
