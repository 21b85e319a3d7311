"""`mbpo eval compare`: what changed from one model to another, question by question."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.console import ROOT, AsJson, Root, errors_in_words, out, print_json
from storage.store import ArtifactStore

One = Annotated[str, typer.Argument(help="evaluate/1a2b, or evaluate/1a2b:trained.")]


def compare(
    a: One,
    b: One,
    draws: Annotated[int, typer.Option(min=100, help="Resamples of the bootstrap.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    every: Annotated[bool, typer.Option("--all", help="Figures of every category.")] = False,
    root: Root = ROOT,
    as_json: AsJson = False,
) -> None:
    """Differences of B to A on the same questions, with paired 95 % intervals; wins and losses.

    The result is stored: query `comparisons` and `compared_answers`.
    """
    from tasks.comparing import compare_refs

    with errors_in_words():
        ref, a_model, b_model = compare_refs(root, a, b, draws=draws, seed=seed)
        store = ArtifactStore(root)
        figures = store.table(ref, "comparisons").to_pylist()
        answers = store.table(ref, "compared_answers").to_pylist()
    if as_json:
        print_json({"ref": ref.short, "a": a_model, "b": b_model, "figures": figures,
                    "outcomes": _outcomes(answers)})  # fmt: skip
        return
    out.print(f"A = {a_model}\nB = {b_model}", markup=False, soft_wrap=True)
    table = Table("benchmark", "metric", "questions", "n", "A", "B", "B - A, 95 % interval", "B is")
    for row in figures:
        if every or row["kind"] == "all":
            table.add_row(
                row["benchmark"], row["metric"], row["kind"], str(row["n"]), _number(row["a"]),
                _number(row["b"]), _difference(row), row["verdict"],
            )  # fmt: skip
    out.print(table)
    out.print(_counts(answers))
    out.print(
        f"stored as {ref.short}: mbpo sql \"select question_id, a_response, b_response "
        "from compared_answers where outcome = 'loss'\"",
        markup=False, soft_wrap=True,
    )  # fmt: skip


def _outcomes(answers: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Return by benchmark how often B wins, loses, ties, or was not compared."""
    found = {}
    for benchmark in dict.fromkeys(row["benchmark"] for row in answers):
        counts = Counter(row["outcome"] for row in answers if row["benchmark"] == benchmark)
        found[benchmark] = {str(name): counts[name] for name in ("win", "loss", "tie", None)}
    return found


def _counts(answers: list[dict[str, Any]]) -> Table:
    table = Table("benchmark", "B wins", "B loses", "ties", "not compared")
    for benchmark, counts in _outcomes(answers).items():
        table.add_row(benchmark, *map(str, counts.values()))
    return table


def _difference(row: dict[str, Any]) -> str:
    if row["low"] is None:
        return _number(row["difference"], "+")
    return f"{row['difference']:+.4f} ({row['low']:+.4f}..{row['high']:+.4f})"


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.4f}"
