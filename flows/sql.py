"""`mbpo sql`: queries over the artifacts, as a table for people or rows for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import duckdb
import typer

from flows.console import ROOT, Root, errors_in_words
from flows.formats import Format, format_of, print_table, write_parquet, write_text
from storage.catalog import query as ask
from storage.catalog import record_batches
from storage.catalog_views import sql_text
from storage.files import replacing

STDIN = "-"


def sql(
    query: Annotated[
        str | None,
        typer.Argument(help="SQL, or - for standard input; without one the views are listed."),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A file that holds the query.")] = None,
    how: Annotated[
        Format | None,
        typer.Option("--format", help="table, unless the ending of --out says otherwise."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
    to: Annotated[
        Path | None, typer.Option("--out", help="Write to this file; it appears when it is whole.")
    ] = None,
    external: Annotated[
        bool, typer.Option("--external", help="Allow other files, writing, and extensions.")
    ] = False,
    root: Root = ROOT,
) -> None:
    """Query the artifacts with DuckDB, reading only."""
    with errors_in_words():
        text, chosen = _query(query, file), _format(how, as_json, to)
        if not root.is_dir():
            raise ValueError(f"no store at {root}")
        try:
            _answer(root, text, chosen, to, external)
        except duckdb.Error as error:
            raise ValueError(str(error)) from None


def _query(query: str | None, file: Path | None) -> str | None:
    """Return what is asked; None for nothing."""
    if query is not None and file is not None:
        raise ValueError("give a query or --file, not both")
    if file is not None:
        return file.read_text(encoding="utf-8")
    return sys.stdin.read() if query == STDIN else query


def _format(how: Format | None, as_json: bool, to: Path | None) -> Format:
    if as_json and how not in (None, Format.JSONL):
        raise ValueError(f"--json means --format jsonl, got --format {how}")
    if as_json:
        return Format.JSONL
    chosen = how or (Format.TABLE if to is None else format_of(to))
    if to is not None and chosen is Format.TABLE:
        raise ValueError("a table is for the screen; a file takes csv, json, jsonl or parquet")
    return chosen


def _answer(root: Path, text: str | None, chosen: Format, to: Path | None, external: bool) -> None:
    if text is None:
        text = sql_text("listing" if chosen is Format.TABLE else "dictionary")
    if chosen is Format.TABLE:
        print_table(ask(root, text, external=external))
        return
    if chosen is Format.PARQUET:
        batches = record_batches(root, text, external=external)
        with _opened(to, root, binary=True) as stream:
            write_parquet(batches, stream)
    else:
        found = ask(root, text, external=external)
        with _opened(to, root) as stream:
            write_text(found, chosen, stream)


@contextmanager
def _opened(to: Path | None, root: Path, *, binary: bool = False) -> Iterator[BinaryIO]:
    """Yield where rows are written: standard output, or a file that appears when it is whole."""
    if to is None:
        if binary and sys.stdout.isatty():
            raise ValueError("Parquet is not for the screen: --out FILE, or a pipe")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if to.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{to} lies in the store, which stages alone write to")
    try:
        with replacing(to) as stream:
            yield stream
    except OSError as error:
        raise ValueError(f"{to} cannot be written: {error.strerror or error}") from None
