"""Pairs in TRL's conversational preference format with images, as Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
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
    """Write pairs below `target`, a row group of `ROWS_AT_ONCE` at a time; counts pairs.

    A new file begins where the last one is large enough, and only for rows: `datasets` does not
    open files without any.
    """
    schema = features(with_negatives).arrow_schema
    folder = target / DATA / NAME
    folder.mkdir(parents=True)
    size, number, file = 0, 0, ExitStack()
    with file:
        for taken in _batches(pairs):
            if size == 0:
                writer = file.enter_context(
                    _writer(folder / f"{NAME}-{number:05d}.parquet", schema)
                )
            records = [record_of(pair, with_negatives) for pair in taken]
            writer.write_table(pa.Table.from_pylist(records, schema))
            advance(len(taken))
            size += sum(len(pair.image.png) for pair in taken)
            if size >= BYTES_PER_FILE:
                file.close()
                size, number = 0, number + 1


def _batches(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    rows = iter(pairs)
    while taken := list(islice(rows, ROWS_AT_ONCE)):
        yield taken


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _image(picture: Picture) -> dict[str, Any]:
    return {"bytes": picture.png, "path": picture.name}
