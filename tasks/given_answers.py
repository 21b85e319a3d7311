"""Answers that somebody else produced, joined to the questions by their content."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from mbpo_core.config import GivenResponses
from mbpo_core.evaluation.benchmarks import BENCHMARKS
from mbpo_core.evaluation.join import Joined, join, join_in_order
from mbpo_core.evaluation.protocol import BenchmarkError, Question
from storage.files import sha256_file
from storage.tables import TableSpec
from tasks.ask import QUESTIONS, question_of
from tasks.benchmark_files import answer_records
from tasks.rows import read
from tasks.sources import SourceError
from tasks.stage import Job

MISSING = "missing"
"""The file has no answer to the question."""
Row = dict[str, Any]


def fingerprint_answers(given: GivenResponses) -> str:
    """Return the hash of the file. Raises SourceError if it is not there."""
    path = Path(given.path)
    if not path.is_file():
        raise SourceError(f"file of answers not found: {given.path}")
    return sha256_file(path)


def given_answers(job: Job, given: GivenResponses) -> list[Row]:
    """Return a row for every question: its answer in the file, or that it has none.

    Raises BenchmarkError where the file does not fit (see `mbpo_core.evaluation.join`).
    """
    records = answer_records(Path(given.path))
    rows = []
    for benchmark, questions in _by_benchmark(job).items():
        joined = _joined(benchmark, questions, records, given)
        for question in questions:
            text = joined.responses.get(question.question_id)
            asked = f"{benchmark}/{question.question_id}"
            rows.append(
                {
                    "answer_id": f"{given.name}:{asked}", "asked_id": asked, "model": given.name,
                    "benchmark": benchmark, "question_id": question.question_id, "response": text,
                    "reason": MISSING if text is None else None,
                }
            )  # fmt: skip
    return rows


def _by_benchmark(job: Job) -> dict[str, list[Question]]:
    table: TableSpec = QUESTIONS
    found: dict[str, list[Question]] = defaultdict(list)
    for row in read(job.store, job.inputs["ask"], table.name, table.schema.names):
        found[row["benchmark"]].append(question_of(row))
    return found


def _joined(
    benchmark: str, questions: list[Question], records: list[Row], given: GivenResponses
) -> Joined:
    definition = BENCHMARKS.get(benchmark)
    reading = {} if definition is None else {"response": definition.response}
    try:
        if given.in_order:
            return join_in_order(questions, records, **reading)
        keys = (("question_id",),)
        if definition is not None:
            keys, reading = definition.keys, reading | {"fields": definition.fields}
        return join(questions, records, keys, partial=given.partial, **reading)
    except BenchmarkError as error:
        raise BenchmarkError(f"{Path(given.path).name}, {benchmark}: {error}") from None
