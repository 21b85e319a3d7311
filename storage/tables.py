"""How a table becomes Parquet: one layout for every stage, the same bytes for the same rows.

Image columns are `struct<bytes: binary, path: string>` and carry the `huggingface` schema
metadata, so that `datasets.load_dataset("parquet", data_files=...)` decodes them to PIL images.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.refs import check_name

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
ALIASES = {"rollouts": "train_rollouts"}
"""Further names of views in the catalogue, and the tables whose rows they show."""
RESERVED = frozenset(
    {
        "artifacts", "artifact_inputs", "identities", "identity_values", "latest", "lineage",
        "parts", "reasons", "runs", "run_stages", "shards", *ALIASES,
    }
)  # fmt: skip

_ROWS_PER_GROUP = 65_536
# A point lookup of one image decodes its whole row group, and dataset viewers refuse groups
# beyond 286 MiB; 100 rows, or fewer where images are large, keeps both small.
_IMAGE_ROWS_PER_GROUP = 100
_IMAGE_BYTES_PER_GROUP = 64 * 2**20
_HF_KEY = b"huggingface"


def image_columns(schema: pa.Schema) -> tuple[str, ...]:
    """Return the names of the columns that hold images."""
    return tuple(field.name for field in schema if field.type == IMAGE)


def with_image_metadata(schema: pa.Schema) -> pa.Schema:
    """Return `schema` with exactly the metadata that makes `datasets` decode its images."""
    features = {name: {"_type": "Image"} for name in image_columns(schema)}
    if not features:
        return schema.remove_metadata()
    text = json.dumps({"info": {"features": features}}, sort_keys=True)
    return schema.with_metadata({_HF_KEY: text.encode()})


def check_table_name(name: str) -> str:
    """Return `name` if the catalogue can make a view of it, else raise ValueError."""
    check_name("table name", name)
    if name in RESERVED or name.endswith(("_all", "_latest")) or "__" in name:
        raise ValueError(
            f"table name {name!r} is taken by the catalogue "
            f"({sorted(RESERVED)}, *_all, *_latest, *__*)"
        )
    return name


@dataclass(frozen=True)
class TableSpec:
    """A table that a stage promises to write: its name and the columns of its rows."""

    name: str
    schema: pa.Schema
    image_columns: tuple[str, ...] = ()
    """Columns that hold images; left empty, every column of type `IMAGE`."""

    def __post_init__(self) -> None:
        """Check the name and the image columns, and put the image metadata on the schema."""
        check_table_name(self.name)
        found = image_columns(self.schema)
        if self.image_columns and set(self.image_columns) != set(found):
            raise ValueError(
                f"table {self.name}: image_columns {list(self.image_columns)} are not the columns "
                f"of type {IMAGE}: {list(found)}"
            )
        object.__setattr__(self, "image_columns", found)
        object.__setattr__(self, "schema", with_image_metadata(self.schema))

    @property
    def text(self) -> str:
        """Return the row schema as text, the same for every pyarrow version."""
        fields = (
            f"{field.name} {field.type}{'' if field.nullable else ' not null'}"
            for field in self.schema
        )
        return f"{self.name}({', '.join(fields)})"


def schema_text(specs: Sequence[TableSpec]) -> str:
    """Return the row schemas of a stage as the text that enters its identity."""
    return "\n".join(spec.text for spec in specs)


def as_table(rows: Sequence[Mapping[str, Any]] | pa.Table, spec: TableSpec) -> pa.Table:
    """Return rows, or a table that has them already, as the table that was promised.

    Raises ValueError for what does not fit the columns.
    """
    if not isinstance(rows, pa.Table):
        return rows_to_table(rows, spec)
    if set(rows.column_names) != set(spec.schema.names):
        raise ValueError(
            f"table {spec.name}: the columns are {spec.schema.names}, got {rows.column_names}"
        )
    return rows.select(spec.schema.names).cast(spec.schema)


def rows_to_table(rows: Sequence[Mapping[str, Any]], spec: TableSpec) -> pa.Table:
    """Build a table from rows; a column left out of a row is null.

    Raises ValueError naming column and row for an unknown column, a value of the wrong type, or
    a null where the schema forbids it.
    """
    names = set(spec.schema.names)
    for index, row in enumerate(rows):
        if unknown := row.keys() - names:
            raise ValueError(
                f"table {spec.name}, row {index}: unknown column {sorted(unknown)[0]!r}; "
                f"the columns are {spec.schema.names}"
            )
    columns = [_column([row.get(field.name) for row in rows], field, spec) for field in spec.schema]
    return pa.Table.from_arrays(columns, schema=spec.schema)


def _column(values: list[Any], field: pa.Field, spec: TableSpec) -> pa.Array | pa.ChunkedArray:
    where = f"table {spec.name}, column {field.name!r}"
    if not field.nullable:
        for index, value in enumerate(values):
            if value is None:
                raise ValueError(f"{where}, row {index}: must not be null")
    try:
        return pa.array(values, type=field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError, OverflowError) as error:
        index, value = _first_bad(values, field.type)
        raise ValueError(
            f"{where}, row {index}: expected {field.type}, got {_shown(value)}: {error}"
        ) from error


def _first_bad(values: list[Any], kind: pa.DataType) -> tuple[int, Any]:
    for index, value in enumerate(values):
        try:
            pa.array([value], type=kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError, OverflowError):
            return index, value
    raise AssertionError("the column fails as a whole but every value alone is fine")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write `table` as Parquet: equal tables give equal bytes, however they were chunked.

    zstd everywhere but on image bytes, which are compressed already; page index for point
    lookups; a CRC on every page, which `storage.reading` checks; no statistics on image bytes.
    """
    metadata = with_image_metadata(table.schema).metadata
    table = table.replace_schema_metadata(metadata).combine_chunks()
    leaves = _leaf_names(table.schema)
    raw = {f"{name}.bytes" for name in image_columns(table.schema)}
    small = [leaf for leaf in leaves if leaf not in raw]
    pq.write_table(
        table,
        path,
        row_group_size=_rows_per_group(table),
        compression={leaf: "NONE" if leaf in raw else "ZSTD" for leaf in leaves},
        use_dictionary=small,
        write_statistics=small,
        write_page_index=True,
        write_page_checksum=True,
    )


def _leaf_names(schema: pa.Schema) -> list[str]:
    """Return Parquet's own names of the leaf columns, such as `image.bytes`."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    parquet = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [parquet.column(index).path for index in range(len(parquet.names))]


def _rows_per_group(table: pa.Table) -> int:
    names = image_columns(table.schema)
    if not names or table.num_rows == 0:
        return _ROWS_PER_GROUP
    sizes = (pc.sum(pc.binary_length(pc.struct_field(table[name], "bytes"))) for name in names)
    mean = max(1, sum(size.as_py() or 0 for size in sizes) // table.num_rows)
    return max(1, min(_IMAGE_ROWS_PER_GROUP, _IMAGE_BYTES_PER_GROUP // mean))
