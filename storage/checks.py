"""What a commit verifies before anything becomes visible: schemas, ids, reasons."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.errors import IncompleteArtifact
from storage.tables import TableSpec

_SHOWN = 5


@dataclass(frozen=True)
class Coverage:
    """A promise: every one of `ids` appears in `table.column`, in a result or a refusal row."""

    table: str
    column: str
    ids: Iterable[Any]
    """A list, set, or pyarrow array of the input's ids."""
    unique: bool = False
    """True where a stage writes exactly one row per id."""


def check_schema(path: Path, spec: TableSpec) -> None:
    """Raise IncompleteArtifact naming the first column of a part that is not as declared."""
    found = pq.read_schema(path)
    if found.equals(spec.schema) and found.metadata == spec.schema.metadata:
        return
    for have, want in zip(found, spec.schema, strict=False):
        if not have.equals(want):
            raise IncompleteArtifact(
                f"{path.name}: column {have.name!r} is {have.type}"
                f"{'' if have.nullable else ' not null'}, declared {want.name!r} {want.type}"
                f"{'' if want.nullable else ' not null'}"
            )
    raise IncompleteArtifact(
        f"{path.name}: columns {found.names} are not the declared {spec.schema.names}"
    )


def check_coverage(coverage: Coverage, parts: Sequence[Path]) -> None:
    """Raise IncompleteArtifact with the count and the first few ids that break the promise."""
    where = f"{coverage.table}.{coverage.column}"
    found = _values(parts, coverage.column, where)
    wanted = coverage.ids
    if not isinstance(wanted, pa.Array | pa.ChunkedArray):
        wanted = pa.array(list(wanted), found.type)
    missing = _missing(wanted, found)
    if missing:
        raise IncompleteArtifact(
            f"{len(missing)} input ids have no row in {where}: {_few(missing)}"
        )
    if coverage.unique and len(found.unique()) < len(found):
        twice = [value for value, count in Counter(found.to_pylist()).items() if count > 1]
        raise IncompleteArtifact(f"{len(twice)} ids have several rows in {where}: {_few(twice)}")


def _missing(wanted: pa.Array | pa.ChunkedArray, found: pa.ChunkedArray) -> list[Any]:
    if isinstance(wanted, pa.ChunkedArray) and wanted.equals(found):
        return []  # the usual case, and a comparison of bytes
    return wanted.filter(pc.invert(pc.is_in(wanted, value_set=found))).unique().to_pylist()


def count_reasons(parts: Sequence[Path]) -> dict[str, int]:
    """Count the rows of a table by `reason`; {} where it has no such column or no reason."""
    if "reason" not in pq.read_schema(parts[0]).names:
        return {}
    counted = pc.value_counts(_values(parts, "reason", "reason")).to_pylist()
    counts = {entry["values"]: entry["counts"] for entry in counted}
    return {reason: counts[reason] for reason in sorted(filter(None, counts))}


def _values(parts: Sequence[Path], column: str, where: str) -> pa.ChunkedArray:
    columns = []
    for part in parts:
        file = pq.ParquetFile(part)
        if column not in file.schema_arrow.names:
            raise IncompleteArtifact(f"there is no column {where} to check the ids in")
        columns.append(file.read([column]).column(0))
    chunks = [chunk for read in columns for chunk in read.chunks]
    return pa.chunked_array(chunks, columns[0].type)


def _few(ids: list[Any]) -> str:
    shown = ", ".join(sorted(map(str, ids))[:_SHOWN])
    return shown if len(ids) <= _SHOWN else f"{shown}, ..."
