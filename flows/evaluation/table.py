"""`mbpo eval table`: our columns beside those of the paper."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.console import ROOT, Root, errors_in_words, out
from mbpo_core.evaluation.paper import columns, ours, paper_rows, source
from storage.store import ArtifactStore

Rows = dict[str, list[dict[str, Any]]]


def table(
    refs: Annotated[
        list[str] | None,
        typer.Argument(help="evaluate/1a2b, lmms/1a2b, ...; default: all, the newest of each."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a row.")] = False,
    root: Root = ROOT,
) -> None:
    """Print our figures in the columns of the paper's Tables 1 to 3, and the paper's beside them.

    Figures of one column are comparable only where they were measured alike: what ours are is said
    below the table.
    """
    with errors_in_words():
        mine = _models(ArtifactStore(root), refs)
    names = [column.name for column in columns()]
    found = [each for model, metrics in mine.items() if (each := _ours(model, metrics))[2]]
    rows = [(f"Table {r.table}", r.policy, r.row, list(r.values)) for r in paper_rows()]
    if as_json:
        for where, policy, row, values in rows:
            print(json.dumps({"source": where, "policy": policy, "row": row}
                             | dict(zip(names, values, strict=True))))  # fmt: skip
        for model, values, which in found:
            print(json.dumps({"source": "ours", "row": model, "measured": which}
                             | dict(zip(names, values, strict=True))))  # fmt: skip
        return
    printed = Table("", "policy", "", *names, title="MBPO's tables and ours")
    for where, policy, row, values in rows:
        printed.add_row(where, policy, row, *[f"{value:g}" for value in values])
    printed.add_section()
    for model, values, _ in found:
        printed.add_row("ours", model, "", *["-" if v is None else f"{v:.4g}" for v in values])
    out.print(printed)
    for line in source():
        out.print(f"paper: {line}", markup=False)
    for column, which in sorted({each for _, _, said in found for each in said.items()}):
        out.print(f"ours, {column}: {which}", markup=False)
    if not found:
        out.print("ours: nothing evaluated yet that the paper measured; see mbpo eval benchmarks")


def _ours(
    model: str, metrics: list[dict[str, Any]]
) -> tuple[str, list[float | None], dict[str, str]]:
    values: list[float | None] = []
    which = {}
    for column in columns():
        found = ours(metrics, column)
        values.append(None if found is None else found[0])
        if found is not None:
            which[column.name] = found[1]
    return model, values, which


def _models(store: ArtifactStore, refs: list[str] | None) -> Rows:
    """Return metrics by model; of equal figures the newest evaluation's count."""
    if refs:
        chosen = [store.resolve(ref) for ref in refs]
    else:
        chosen = [ref for ref, manifest in store.refs() if "metrics" in manifest.tables]
    found: dict[str, dict[tuple[str, str, str], dict[str, Any]]] = {}
    for ref in chosen:
        for row in store.table(ref, "metrics").to_pylist():
            place = (row["benchmark"], row["kind"], row["metric"])
            found.setdefault(row["model"], {})[place] = row
    return {model: list(rows.values()) for model, rows in found.items()}
