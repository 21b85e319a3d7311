"""Multiple-choice questions as published: letter columns, lists of choices, conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from mbpo_core.evaluation.join import Record, same_text, usual_fields
from mbpo_core.evaluation.protocol import BenchmarkError, Join, SourceFile
from mbpo_core.records import Options

LETTER_SUFFIX = "\nAnswer with the option's letter from the given choices directly."
"""LLaVA-1.5's and lmms-eval's."""
_LISTS = ("options", "choices")
_PROMPTS = ("prompt", "input")


def numbered(files: Sequence[SourceFile]) -> Iterator[tuple[SourceFile, int, Record]]:
    """Yield the records of all files with their place among all, from 0.

    Raises:
        BenchmarkError: a file that is no list of records.
    """
    place = 0
    for file in files:
        if not isinstance(file.content, list):
            raise BenchmarkError(f"{file.name}: expected a list of records (JSON, TSV, Parquet)")
        for record in file.content:
            if not isinstance(record, Mapping):
                raise BenchmarkError(f"{file.name}: no record: {str(record)[:80]!r}")
            yield file, place, record
            place += 1


def options_of(record: Record) -> Options:
    """Return the options of a record, of columns A, B, ... or of a list; () where it has none.

    Columns end at the first empty one ("", "nan", not a number): questions of one table have
    different numbers of options.
    """
    found = []
    for letter in ascii_uppercase:
        text = record.get(letter)
        if _missing(text):
            break
        found.append((letter, _text(text)))
    if found:
        return tuple(found)
    for name in _LISTS:
        texts = record.get(name)
        if texts is not None and not isinstance(texts, str | Mapping):
            return tuple(zip(ascii_uppercase, map(_text, texts), strict=False))
    return ()


def gold_letter(file: SourceFile, record: Record, options: Options) -> str:
    """Return the letter of the right answer, given as letter or, from 0, as place in the list.

    Raises:
        BenchmarkError: no answer (test splits hide it), or none of the options.
    """
    given = str(record.get("answer")).strip()
    letters = [letter for letter, _ in options]
    if given.upper() in letters:
        return given.upper()
    if given.isdecimal() and int(given) < len(letters) and not any(x in record for x in letters):
        return letters[int(given)]
    hidden = "; a test split hides it" if _missing(record.get("answer")) else ""
    raise BenchmarkError(
        f"{file.name}: expected as answer one of {', '.join(letters) or 'the options'}, got "
        f"{record.get('answer')!r} of {str(record.get('question'))[:80]!r}{hidden}"
    )


def lines(options: Options) -> str:
    """Return options as `A. text`, a line each."""
    return "\n".join(f"{letter}. {text}" for letter, text in options)


def hint_of(record: Record) -> str:
    """Return the hint or context of a record, "" where it has none."""
    return "" if _missing(record.get("hint")) else str(record["hint"])


def choice_fields(record: Record) -> Join:
    """Return the fields of an answer: id, and the text with the options where it has both.

    lmms-eval's logs have `doc_id`, the place of the question, and `input`, what was asked.
    """
    usual = usual_fields({"index": record.get("doc_id"), **record})
    found = {name: usual[name] for name in ("question_id",) if name in usual}
    question, options = record.get("question"), options_of(record)
    prompt = next((record[name] for name in _PROMPTS if isinstance(record.get(name), str)), None)
    if isinstance(question, str) and options:
        hint = hint_of(record)
        context = f"{hint}\n" if hint else ""
        found["text"] = same_text(f"{context}{question}\n{lines(options)}")
    elif prompt is not None:
        found["text"] = same_text(prompt)
    return found


def _text(value: Any) -> str:
    """Return a cell as text; a sheet may hold the option "3" as 3.0."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _missing(value: Any) -> bool:
    return value is None or value != value or str(value).strip().lower() in ("", "nan")
