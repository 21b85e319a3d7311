"""`mbpo diff` and `mbpo why`: how two versions differ, and what a version came from."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from flows.completion import complete_ref
from flows.console import ROOT, AsJson, Ref, Root, errors_in_words, out, print_json
from storage.compare import TableChange
from storage.naming import find_run
from storage.store import ArtifactStore
from tasks.versions import Difference, difference, run_differences
from tasks.why import causes_between, former, in_lines, roots

Side = Annotated[
    str,
    typer.Argument(
        help="A version, as mine/1a2b or a tag; or a run, as its id.", autocompletion=complete_ref
    ),
]


def diff(
    a: Side,
    b: Side,
    rows: Annotated[int, typer.Option(min=0, help="Rows of each kind to print.")] = 3,
    root: Root = ROOT,
    as_json: AsJson = False,
) -> None:
    """Tell what differs in B from A: settings, inputs, code, libraries, counts, rows.

    Of two runs, or tags on runs, stage by stage.
    """
    with errors_in_words():
        found = _differences(ArtifactStore(root), a, b, rows)
    if as_json:
        print_json([_as_json(each) for each in found])
        return
    for each in found:
        _print(each)


def _differences(store: ArtifactStore, a: str, b: str, rows: int) -> list[Difference]:
    runs = [find_run(store.root, text) if "/" not in text else None for text in (a, b)]
    if runs[0] and runs[1]:
        return run_differences(store, runs[0], runs[1], rows)
    return [difference(store, store.resolve(a), store.resolve(b), rows)]


def _as_json(each: Difference) -> dict[str, Any]:
    tables = [vars(table) | {"equal": table.equal} for table in each.tables]
    causes = [cause.to_dict() for cause in each.causes]
    return vars(each) | {"equal": each.equal, "causes": causes, "tables": tables}


def _print(each: Difference) -> None:
    if each.old is None or each.new is None:
        out.print(f"{each.stage}: only in {'B' if each.old is None else 'A'}: "
                  f"{each.old or each.new}")  # fmt: skip
        return
    if each.old == each.new:
        out.print(f"{each.stage}: the same, {each.new}")
        return
    out.print(f"{each.old} -> {each.new}", style="bold")
    for line in in_lines(each.causes, "  ") or ["  nothing in its identity differs"]:
        out.print(line, markup=False, soft_wrap=True)
    if each.refused[0] != each.refused[1]:
        out.print(f"  refused: {each.refused[0]} -> {each.refused[1]}", markup=False)
    if each.equal:
        out.print("  its bytes or rows are the same")
    for table in each.tables:
        if not table.equal or any(table.rows):
            _print_table(table)


def _print_table(table: TableChange) -> None:
    by = f", matched by {', '.join(table.ids)}" if table.ids else ""
    out.print(
        f"  {table.table}: {table.rows[0]} -> {table.rows[1]} rows: {table.added} added, "
        f"{table.removed} removed, {table.changed} changed, {table.same} the same{by}",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    for word in ("new", "lost"):
        if names := getattr(table, f"{word}_columns"):
            out.print(f"    {word} columns: {', '.join(names)}", markup=False)
    if table.retyped:
        out.print(f"    columns of another type: {', '.join(table.retyped)}", markup=False)
    if table.columns:
        columns = Table("column", "rows", "mean of new - old", "largest", box=None)
        for column in table.columns:
            amounts = ["" if n is None else f"{n:.6g}" for n in (column.mean, column.largest)]
            columns.add_row(f"    {column.column}", str(column.rows), *amounts)
        out.print(columns)
    _print_examples(table)


def _print_examples(table: TableChange) -> None:
    for kind in ("added", "removed"):
        for row in table.examples.get(kind, ()):
            out.print(f"    {kind} {_ids(row)}", markup=False, soft_wrap=True)
    for example in table.examples.get("changed", ()):
        out.print(f"    changed {_ids(example['row'])}", markup=False, soft_wrap=True)
        for name, (old, new) in example["columns"].items():
            out.print(f"      {name}: {old} -> {new}", markup=False, soft_wrap=True)


def _ids(row: dict[str, Any]) -> str:
    return " ".join(str(value) for value in row.values())


def why(ref: Ref, root: Root = ROOT, as_json: AsJson = False) -> None:
    """Tell which part of a version's identity changed since the version before it, and why."""
    with errors_in_words():
        store = ArtifactStore(root)
        found = store.resolve(ref)
        before = former(store, found)
        causes = causes_between(store, before.ref, found) if before else ()
    first = roots(causes)
    if as_json:
        print_json(
            {"ref": found.short, "before": before and before.ref.short,
             "causes": [cause.to_dict() for cause in causes],
             "first_causes": [cause.to_dict() for cause in first]}
        )  # fmt: skip
        return
    if before is None:
        out.print(f"{found.short} is the first version of {found.stage}")
        return
    out.print(f"{found.short}, after {before.ref.short} of {before.recipe} "
              f"({before.created_at[:16]}):", soft_wrap=True)  # fmt: skip
    for line in in_lines(causes, "  "):
        out.print(line, markup=False, soft_wrap=True)
    if any(cause.because for cause in causes):
        out.print("first causes:")
        for line in in_lines(first, "  "):
            out.print(line, markup=False, soft_wrap=True)
