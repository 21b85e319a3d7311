"""The records of a JSON or JSONL file, parsed one at a time: what is held is where they stand."""

import codecs
import json
import os
import weakref
from array import array
from collections.abc import Iterator, Sequence
from json.decoder import JSONDecodeError
from pathlib import Path
from typing import Any, BinaryIO, overload

from mbpo_core.data.sources import (
    LINE_SUFFIXES,
    integer,
    iter_records,
    line_record,
    parse_json,
)

_BLOCK = 1 << 20
_SPACE = " \t\n\r"


class NotAListError(ValueError):
    """A file that is no JSON list that can be read piece by piece."""


class JsonRecords(Sequence[Any]):
    """The records of a file, as `iter_records` yields them, without their indices.

    Memory: 24 bytes a record. The file stays open, so that one that takes its place under the same
    name is not mixed up with it.
    """

    def __init__(self, path: Path) -> None:
        """Find the records, which reads the file once.

        Raises:
            NotAListError: it is neither JSONL nor a JSON list.
        """
        suffix = path.suffix.lower()
        if suffix != ".json" and suffix not in LINE_SUFFIXES:
            raise NotAListError(f"not known: {suffix}")
        self._lines = suffix in LINE_SUFFIXES
        with path.open("rb") as file:
            found = _line_spans(file) if self._lines else _list_spans(file)
            self._spans = array("q", (number for span in found for number in span))
            self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._spans) // 3

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        """Parse a record; a slice parses nothing."""
        if isinstance(index, slice):
            return Part(self, range(len(self))[index])
        at = 3 * range(len(self))[index]
        begin, size, line = self._spans[at : at + 3]
        data = os.pread(self._file, size, begin)
        return line_record(data, line) if self._lines else parse_json(data)


class Part(Sequence[Any]):
    """Some records of a sequence, taken from it when they are asked for."""

    def __init__(self, records: Sequence[Any], rows: range) -> None:
        self._records, self._rows = records, rows

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        """Return a record, or fewer of them."""
        if isinstance(index, slice):
            return Part(self._records, self._rows[index])
        return self._records[self._rows[index]]


def open_records(path: Path) -> Sequence[Any]:
    """Return the records of a JSON or JSONL file; what is no list of records is read whole.

    Raises:
        ValueError, OSError: as `iter_records`.
    """
    try:
        return JsonRecords(path)
    except NotAListError:
        return [record for _, record in iter_records(path)]


def _line_spans(file: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """Yield where each line that is not empty begins, its bytes, and its number from 0."""
    begin = 0
    for number, line in enumerate(file):
        if line.strip():
            yield begin, len(line), number
        begin += len(line)


def _list_spans(file: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """Yield the same of each element of a JSON list; the line is always 0."""
    text = _Text(file)
    if text.skip() != "[":
        raise NotAListError("no list")
    text.take(1)
    if text.skip() == "]":
        text.take(1)
    else:
        yield from _elements(text)
    if text.skip():
        raise NotAListError("something stands behind the list")


def _elements(text: "_Text") -> Iterator[tuple[int, int, int]]:
    while True:
        text.skip()
        begin = text.at
        text.value()
        yield begin, text.at - begin, 0
        mark = text.skip()
        if mark not in (",", "]"):
            raise NotAListError(f"expected , or ] but found {mark!r}")
        text.take(1)
        if mark == "]":
            return


class _Text:
    """The text of a file from a place on, read block by block; `at` is the place in bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._parse = json.JSONDecoder(parse_int=integer).raw_decode
        self._text, self._begin, self._ended = "", 0, False
        self.at = 0
        if self.peek() == "\ufeff":
            self.take(1)

    def peek(self) -> str:
        """Return the next character, "" at the end."""
        while self._begin == len(self._text) and not self._ended:
            self._more()
        return self._text[self._begin : self._begin + 1]

    def skip(self) -> str:
        """Go past white space and return the next character."""
        while (following := self.peek()) and following in _SPACE:
            self.take(1)
        return following

    def take(self, count: int) -> None:
        """Go on by so many characters, which were read."""
        taken = self._text[self._begin : self._begin + count]
        self.at += len(taken) if taken.isascii() else len(taken.encode("utf-8", "surrogateescape"))
        self._begin += count

    def value(self) -> None:
        """Go past one JSON value."""
        while True:
            try:
                _, end = self._parse(self._text, self._begin)
            except RecursionError as error:
                raise NotAListError("nested too deeply") from error
            except JSONDecodeError as error:
                if self._ended:
                    raise NotAListError(str(error)) from error
                end = len(self._text)
            # A number at the end of what was read may go on.
            if end < len(self._text) or self._ended:
                return self.take(end - self._begin)
            self._more()

    def _more(self) -> None:
        block = self._file.read(max(_BLOCK, len(self._text) - self._begin))
        self._ended = not block
        read = self._decoder.decode(block, final=self._ended)
        self._text, self._begin = self._text[self._begin :] + read, 0
