"""How rows of a query are written: for people, or for other programs and then row by row."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table

from flows.console import out
from storage.tables import with_image_metadata

SHOWN = 1000
"""Rows of a table on the screen."""
_FETCHED = 256
"""Rows that are held at a time; they may hold images."""
_GROUP_ROWS, _GROUP_BYTES = 100_000, 64 * 2**20
"""A row group of a Parquet file is written when it has as much as this."""


class Format(StrEnum):
    """What `mbpo sql` can print."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


def format_of(path: Path) -> Format:
    """Return the format that a file's ending means."""
    try:
        return Format(path.suffix.lstrip(".").lower())
    except ValueError:
        raise ValueError(
            f"{path.name!r} does not end in .csv, .json, .jsonl or .parquet: say --format"
        ) from None


def print_table(found: duckdb.DuckDBPyConnection) -> None:
    """Print the first rows for people; whatever is long is cut."""
    table = Table(*_names(found))
    rows = found.fetchmany(SHOWN + 1)
    for row in rows[:SHOWN]:
        table.add_row(*[cell(value) for value in row])
    out.print(table, markup=False)
    more = len(rows) > SHOWN
    out.print(f"the first {SHOWN} rows; all of them: --format csv" if more else f"{len(rows)} rows")


def cell(value: Any) -> str:
    """Return a value as a cell of a table."""
    text = f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)
    return text if len(text) <= 200 else text[:197] + "..."


def write_text(found: duckdb.DuckDBPyConnection, how: Format, stream: BinaryIO) -> None:
    """Write all rows in UTF-8, fetching a few at a time.

    Bytes are base64. JSON has no NaN and no infinity: they are null there. In CSV null is an empty
    cell, and lists and structs are JSON.
    """
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    try:
        _WRITERS[how](found, text)
    finally:
        text.detach()  # the stream is its owner's to close


def _write_csv(found: duckdb.DuckDBPyConnection, text: io.TextIOWrapper) -> None:
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_names(found))
    for rows in _fetched(found):
        writer.writerows([_csv_cell(value) for value in row] for row in rows)


def _write_jsonl(found: duckdb.DuckDBPyConnection, text: io.TextIOWrapper) -> None:
    for lines in _json_lines(found):
        text.write("".join(f"{line}\n" for line in lines))


def _write_json(found: duckdb.DuckDBPyConnection, text: io.TextIOWrapper) -> None:
    before = "[\n"
    for lines in _json_lines(found):
        text.write(before + ",\n".join(lines))
        before = ",\n"
    text.write("\n]\n" if before == ",\n" else "[]\n")


_WRITERS = {Format.CSV: _write_csv, Format.JSONL: _write_jsonl, Format.JSON: _write_json}


def write_parquet(batches: pa.RecordBatchReader, stream: BinaryIO) -> None:
    """Write all rows with the types that they have; images stay columns that `datasets` decodes."""
    schema = with_image_metadata(batches.schema)
    _check_names(schema.names)
    try:
        with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
            for group in _groups(batches, schema):
                writer.write_table(group)
    except pa.ArrowNotImplementedError as error:
        raise ValueError(f"Parquet has no such type; cast it in the query: {error}") from None


def _groups(batches: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    for batch in _read(batches):
        held.append(batch)
        full = sum(each.num_rows for each in held) >= _GROUP_ROWS
        if full or sum(each.nbytes for each in held) >= _GROUP_BYTES:
            yield pa.Table.from_batches(held).cast(schema)
            held = []
    if held:
        yield pa.Table.from_batches(held).cast(schema)


def _read(batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Yield the batches; an error of the query, which arrives as one of the system, is named."""
    try:
        yield from batches
    except OSError as error:
        raise ValueError(str(error)) from None


def _names(found: duckdb.DuckDBPyConnection) -> list[str]:
    return [column[0] for column in found.description or ()]


def _fetched(found: duckdb.DuckDBPyConnection) -> Iterator[list[tuple[Any, ...]]]:
    while rows := found.fetchmany(_FETCHED):
        yield rows


def _check_names(names: list[str]) -> None:
    """Refuse names that would hide one another."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two columns are named {name!r}: name one of them with AS")


def _json_lines(found: duckdb.DuckDBPyConnection) -> Iterator[list[str]]:
    names = _names(found)
    _check_names(names)
    for rows in _fetched(found):
        yield [_json(dict(zip(names, row, strict=True))) for row in rows]


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_text)
    except (TypeError, ValueError):
        return json.dumps(_plain(value), ensure_ascii=False, default=_text)


def _plain(value: Any) -> Any:
    """Return what JSON has: text as names, null for numbers that are none."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _csv_cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return _text(value)
    return _json(value) if isinstance(value, list | tuple | dict) else value
