"""Small artifacts that the storage tests build, here and in child processes."""

import io
from pathlib import Path

import pyarrow as pa
from PIL import Image

from storage.identity import Identity
from storage.refs import ArtifactRef
from storage.store import ArtifactStore, Coverage
from storage.tables import IMAGE, TableSpec, rows_to_table, schema_text

NEGATIVES = TableSpec(
    "negatives",
    pa.schema(
        [
            ("sample_id", pa.string()),
            ("image", IMAGE),
            ("steps", pa.list_(pa.float32())),
            ("reason", pa.string()),
        ]
    ),
)
TRACES = TableSpec("traces", pa.schema([("sample_id", pa.string()), ("step", pa.int64())]))
SPECS = (NEGATIVES, TRACES)
ROWS_PER_SHARD = 3


def png(shade: int, size: int = 6) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (shade % 256, 10, 20)).save(buffer, "PNG")
    return buffer.getvalue()


def identity(**config) -> Identity:
    return Identity("mine", 1, schema_text(SPECS), config)


def ids(shards) -> list[str]:
    return [f"s{shard}-{row}" for shard in shards for row in range(ROWS_PER_SHARD)]


def shard_tables(shard: int, shade: int = 0) -> dict[str, pa.Table]:
    rows = [
        {
            "sample_id": name,
            "image": {"bytes": png(shade + index), "path": f"{name}.png"},
            "steps": [0.5, 0.25],
            "reason": "unreadable" if index == 2 else None,
        }
        for index, name in enumerate(ids([shard]))
    ]
    traces = [{"sample_id": name, "step": 1} for name in ids([shard])]
    return {"negatives": rows_to_table(rows, NEGATIVES), "traces": rows_to_table(traces, TRACES)}


def build(
    root: Path | ArtifactStore, config: dict | None = None, shards=(0, 1), shade: int = 0, **facts
) -> ArtifactRef:
    store = root if isinstance(root, ArtifactStore) else ArtifactStore(root)
    made = identity(**(config or {}))
    with store.lock("mine", made.key):
        for shard in store.missing_shards("mine", made.key, shards):
            store.write_shard("mine", made.key, shard, shard_tables(shard, shade))
        return store.commit(
            "mine",
            made.key,
            shards,
            tables=SPECS,
            identity=made,
            coverage=[Coverage("negatives", "sample_id", ids(shards), unique=True)],
            **facts,
        )
