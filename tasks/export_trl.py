"""Pairs in TRL's conversational preference format with images, as Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, Image, List, Value

from storage.outgoing import Advance
from tasks.export_pairs import ROWS_AT_ONCE, Pair, Picture
from tasks.export_tables import DATA

NAME = "pairs"
BYTES_PER_FILE = 500 * 10**6
"""Of images; a file ends with the rows that reach it."""
_MESSAGES = List({"role": Value("string"),
                  "content": List({"type": Value("string"), "text": Value("string")})})  # fmt: skip
FEATURES = Features(
    {
        "prompt": _MESSAGES,
        "chosen": _MESSAGES,
        "rejected": _MESSAGES,
        "images": List(Image()),
        "group_id": Value("string"),
        "source": Value("string"),
    }
)
NEGATIVE = "rejected_images"
"""Column of the negative images: a list of one, or empty where a pair has none."""


def features(with_negatives: bool) -> Features:
    """Return the columns."""
    return Features({**FEATURES, NEGATIVE: List(Image())}) if with_negatives else FEATURES


def record_of(pair: Pair, with_negatives: bool) -> dict[str, Any]:
    """Return a pair as TRL reads it: the image where its placeholder stands, before the text."""
    asked = [{"type": "image", "text": None}, _text(pair.question)]
    record = {
        "prompt": [{"role": "user", "content": asked}],
        "chosen": [{"role": "assistant", "content": [_text(pair.chosen)]}],
        "rejected": [{"role": "assistant", "content": [_text(pair.rejected)]}],
        "images": [_image(pair.image)],
        "group_id": pair.group_id,
        "source": pair.source,
    }
    if with_negatives:
        record[NEGATIVE] = [] if pair.negative is None else [_image(pair.negative)]
    return record


def write_trl(pairs: Iterable[Pair], target: Path, with_negatives: bool, advance: Advance) -> None:
    """Write pairs below `target`, a row group of `ROWS_AT_ONCE` at a time; counts pairs."""
    schema = features(with_negatives).arrow_schema
    rows: Iterator[Pair] = iter(pairs)
    number, more = 0, True
    while more:
        path = target / DATA / NAME / f"{NAME}-{number:05d}.parquet"
        with _writer(path, schema) as writer:
            more = _fill(writer, rows, schema, with_negatives, advance)
        number += 1


def _fill(
    writer: pq.ParquetWriter, rows: Iterator[Pair], schema: pa.Schema, with_negatives: bool,
    advance: Advance,
) -> bool:  # fmt: skip
    """Write rows until the file is large enough; return whether there may be more."""
    size = 0
    while size < BYTES_PER_FILE:
        taken = [pair for _, pair in zip(range(ROWS_AT_ONCE), rows, strict=False)]
        records = [record_of(pair, with_negatives) for pair in taken]
        writer.write_table(pa.Table.from_pylist(records, schema))
        advance(len(taken))
        size += sum(len(pair.image.png) for pair in taken)
        if len(taken) < ROWS_AT_ONCE:
            return False
    return True


@contextmanager
def _writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        yield writer


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _image(picture: Picture) -> dict[str, Any]:
    return {"bytes": picture.png, "path": picture.name}
