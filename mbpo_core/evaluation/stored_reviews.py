"""Judge output that somebody stored, as reviews by question; no endpoint is asked.

Reviews find their question by what they name. Only MMHal-Bench's official output names nothing: its
order is all there is, so it must hold exactly one review a question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mbpo_core.evaluation.join import Keys, Record, join, usual_fields
from mbpo_core.evaluation.protocol import BenchmarkError, Join, Question, Review, SourceFile

Reader = Callable[[Sequence[Question], SourceFile], dict[str, Review]]
"""Questions and a file of stored judge output to reviews by question id. Questions without a review
are left out; a review that belongs to no question is a BenchmarkError."""

OWN = ("question_id", "text", "model", "asked_at")
"""Fields of our own JSONL; `grades` may stand besides."""
_PLACE = "place of the review"
_HALLUSION = {"0": "incorrect", "1": "correct", "2": "unclear"}
"""What HallusionBench's script reads from the judge's words and stores in their place."""


def records_of(file: SourceFile) -> list[Record]:
    """Return the records of a file.

    Raises:
        BenchmarkError: it is no list of records.
    """
    content = file.content
    if not isinstance(content, list) or not all(isinstance(r, Mapping) for r in content):
        raise BenchmarkError(
            f"{file.name}: expected a list of records, got {type(content).__name__} "
            f"{str(content)[:60]!r}"
        )
    return content


def is_own(file: SourceFile) -> bool:
    """Return whether a file is our own JSONL: records with `OWN`."""
    content = file.content
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(r, Mapping) and {*OWN} <= set(r) for r in content)
    )


def own(questions: Sequence[Question], file: SourceFile) -> dict[str, Review]:
    """Read our own JSONL, a line a review; a line without text (a failure) is no review."""
    records = records_of(file)
    if records and not is_own(file):
        raise BenchmarkError(f"{file.name}: a review needs {', '.join(OWN)}, got {records[0]}")
    known, found = {q.question_id for q in questions}, {}
    for number, record in enumerate(records, start=1):
        name = str(record["question_id"])
        if record["text"] is None:
            continue
        if name not in known:
            raise _unknown(file, number, name)
        review = Review(
            text=str(record["text"]), model=str(record["model"] or ""),
            asked_at=str(record["asked_at"] or ""),
            grades=tuple(grades_of(record.get("grades") or (), f"{file.name}, line {number}")),
        )  # fmt: skip
        if found.setdefault(name, review) != review:
            raise BenchmarkError(f"{file.name}: question {name} has two different reviews")
    return found


def completions_in_order(questions: Sequence[Question], file: SourceFile) -> dict[str, Review]:
    """Read a list of chat completions in the questions' order, as MMHal-Bench's script saves it.

    Raises:
        BenchmarkError: another number of completions than of questions, or one without a message.
    """
    records = records_of(file)
    if len(records) != len(questions):
        raise BenchmarkError(
            f"{file.name}: chat completions name no question, so there must be one for each in "
            f"its order; {len(records)} completions for {len(questions)} questions"
        )
    return {
        question.question_id: completion(record, f"{file.name}, review {number}")
        for number, (question, record) in enumerate(zip(questions, records, strict=True), start=1)
    }


def completion(record: Record, where: str) -> Review:
    """Return the review in a chat completion; no text at all counts as an empty one."""
    try:
        text = record["choices"][0]["message"]["content"]
    except (LookupError, TypeError):
        raise BenchmarkError(f"{where}: no chat completion: {str(record)[:200]}") from None
    created = record.get("created")
    moment = isinstance(created, int) and not isinstance(created, bool) and 0 < created < 2**33
    return Review(
        text="" if text is None else str(text),
        model=str(record.get("model") or ""),
        asked_at=datetime.fromtimestamp(created, UTC).isoformat() if moment else "",
    )


def named(
    questions: Sequence[Question],
    file: SourceFile,
    keys: Keys,
    review: Callable[[Record], Review | None],
    fields: Callable[[Record], Join] = usual_fields,
) -> dict[str, Review]:
    """Read records that name their question by fields.

    Args:
        questions: of the benchmark.
        file: its content is a list of records.
        keys, fields: as in `mbpo_core.evaluation.join.join`.
        review: of a record; None where it holds none.

    Raises:
        BenchmarkError: a record of another question, or two different reviews of one.
    """
    kept: list[dict[str, Any]] = []
    places: dict[Review, int] = {}
    for record in records_of(file):
        found = review(record)
        if found is not None:
            kept.append({**record, _PLACE: str(places.setdefault(found, len(places)))})
    try:
        joined = join(
            questions, kept, keys, fields=fields, response=lambda r: r[_PLACE], partial=True
        )
    except BenchmarkError as error:
        raise BenchmarkError(f"reviews in {file.name}: {error}") from None
    if joined.unknown:
        raise BenchmarkError(
            f"{file.name}: {len(joined.unknown)} of {len(kept)} reviews are of no question "
            f"({joined.unknown[0]}): of another set of questions?"
        )
    reviews = list(places)
    return {question_id: reviews[int(place)] for question_id, place in joined.responses.items()}


def hallusion_checks(
    questions: Sequence[Question],
    file: SourceFile,
    keys: Keys,
    fields: Callable[[Record], Join] = usual_fields,
) -> dict[str, Review]:
    """Read the result file of HallusionBench's `evaluation.py`: a field `..._gpt_check` a sample.

    It holds what the script read (0 wrong, 1 right, 2 unclear), not what the judge said; the word
    that the script reads as that stands in for it.
    """

    def review(record: Record) -> Review | None:
        field = next((name for name in record if str(name).endswith("_gpt_check")), None)
        if field is None or record[field] is None:
            return None
        check = str(record[field]).strip().removesuffix(".0")
        if check not in _HALLUSION:
            raise BenchmarkError(f"{file.name}: {field} must be 0, 1 or 2, got {record[field]!r}")
        return Review(_HALLUSION[check], model="", asked_at="")

    found = named(questions, file, keys, review, fields)
    if not found:
        raise BenchmarkError(f"{file.name}: no sample has a field ending in `_gpt_check`")
    return found


def grades_of(values: Any, where: str) -> list[float]:
    """Return stored grades as numbers.

    Raises:
        BenchmarkError: they are no list of finite numbers.
    """
    numbers = isinstance(values, Sequence) and not isinstance(values, str) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < float("inf")
        for v in values
    )  # fmt: skip
    if not numbers:
        raise BenchmarkError(f"{where}: expected a list of numbers, got {values!r}")
    return [float(v) for v in values]


def _unknown(file: SourceFile, number: int, name: str) -> BenchmarkError:
    return BenchmarkError(
        f"{file.name}: review {number} is of question {name!r}, which is none of these questions"
    )
