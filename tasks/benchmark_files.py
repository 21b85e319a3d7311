"""Files of benchmarks and answers as they are published: JSON, JSONL, TSV, XLSX, Parquet, text."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from mbpo_core.config import GivenResponses
from mbpo_core.evaluation.protocol import SourceFile
from storage.files import sha256_file
from tasks.sources import SourceError

_SUFFIXES = (".json", ".jsonl", ".ndjson", ".tsv", ".csv", ".xlsx", ".parquet", ".txt")
_SHOWN = 80


def question_files(paths: Sequence[str]) -> list[Path]:
    """Return the files of a benchmark: those given, and those directly inside of given folders.

    Raises SourceError for what is not there or cannot be read.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = [file for file in sorted(path.rglob("*")) if _suffix(file) in _SUFFIXES]
            if not inside:
                raise SourceError(f"no file of a benchmark ({', '.join(_SUFFIXES)}) in {path}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise SourceError(f"question file not found: {path}")
    return found


def fingerprint_files(paths: Sequence[str]) -> str:
    """Return a hash of the names and bytes of the files."""
    digest = hashlib.sha256()
    for file in question_files(paths):
        digest.update(f"{file.name} {sha256_file(file)}\n".encode())
    return digest.hexdigest()


def fingerprint_answers(given: GivenResponses) -> str:
    """Return the hash of the file or files of answers. Raises SourceError if there is none."""
    path = Path(given.path)
    if path.is_dir():
        return fingerprint_files([given.path])
    if not path.is_file():
        raise SourceError(f"file of answers not found: {given.path}")
    return sha256_file(path)


def read_files(paths: Sequence[str]) -> list[SourceFile]:
    """Read the files of a benchmark; see `mbpo_core.evaluation.protocol.SourceFile`."""
    return [SourceFile(_plain(file).name, read_file(file)) for file in question_files(paths)]


def read_file(path: Path) -> Any:
    """Return the content of a file, by its suffix; `.gz` is unpacked.

    Records of JSON lines (also where the suffix is `.json`, as POPE's are), TSV, CSV, XLSX and
    Parquet; the value of JSON; the text of anything else. Cells are texts, as they stand.
    Raises SourceError naming the file, and the line where there is one.
    """
    suffix = _suffix(path)
    if suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if suffix == ".xlsx":
        return _records(pd.read_excel(io.BytesIO(data), dtype=str, keep_default_na=False))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path.name} is no UTF-8 text: {error}") from None
    if suffix in (".tsv", ".csv"):
        separator = "\t" if suffix == ".tsv" else ","
        frame = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False)
        return _records(frame)
    if suffix in (".json", ".jsonl", ".ndjson"):
        return _json(text, path.name, lines=suffix != ".json")
    return text


Table = Callable[[SourceFile], Sequence[Any]]


def answer_records(path: Path, table: Table | None = None) -> list[dict[str, Any]]:
    """Return the answers in a file, or in all files of a folder, as records.

    An object of id and answer (MM-Vet's form) becomes records of both; the samples that lmms-eval
    logs have the fields of their document beside their own.

    Args:
        path: file or folder.
        table: reads text files, where the benchmark has answers in such.

    Raises:
        SourceError: there are none.
    """
    if not path.exists():
        raise SourceError(f"file of answers not found: {path}")
    return list(_answers(path, fingerprint_files([str(path)]), table))


@lru_cache(maxsize=2)
def _answers(path: Path, content: str, table: Table | None) -> tuple[dict[str, Any], ...]:
    return tuple(r for file in read_files([str(path)]) for r in _records_of(file, table))


def _records_of(file: SourceFile, table: Table | None) -> list[Any]:
    content = file.content
    if isinstance(content, dict):
        if not all(isinstance(value, str) for value in content.values()):
            raise SourceError(f"{file.name} is neither a list of answers nor an object of id: text")
        return [{"question_id": name, "response": text} for name, text in content.items()]
    if isinstance(content, str) and table is not None:
        return list(table(file))
    if not isinstance(content, list):
        raise SourceError(f"{file.name} holds no answers but {str(content)[:_SHOWN]!r}")
    return [_flat(record) for record in content]


def _flat(record: Any) -> Any:
    inner = record.get("doc") if isinstance(record, dict) else None
    return {**inner, **record} if isinstance(inner, dict) else record


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def _json(text: str, name: str, *, lines: bool) -> Any:
    if not lines:
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            if "\n" not in text.strip() or not text.lstrip().startswith("{"):
                raise SourceError(f"{name} is no JSON: {error}") from None
    return list(_lines(text, name))


def _lines(text: str, name: str) -> Iterator[Any]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise SourceError(f"{name}, line {number} is no JSON: {error}") from None


def _plain(path: Path) -> Path:
    return path.with_suffix("") if path.suffix == ".gz" else path


def _suffix(path: Path) -> str:
    return _plain(path).suffix.lower()
