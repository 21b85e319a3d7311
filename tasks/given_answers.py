"""Answers that somebody else produced, joined to the questions by their content."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from mbpo_core.config import GivenResponses
from mbpo_core.evaluation.protocol import Question
from storage.tables import TableSpec
from tasks.ask import QUESTIONS, question_of
from tasks.benchmarks import joined
from tasks.rows import read
from tasks.stage import Job

MISSING = "missing"
"""The file has no answer to the question."""
Row = dict[str, Any]


def given_answers(job: Job, given: GivenResponses) -> list[Row]:
    """Return a row for every question: its answer in the file, or that it has none.

    Raises BenchmarkError where the file does not fit (see `mbpo_core.evaluation.join`).
    """
    rows = []
    for benchmark, questions in _by_benchmark(job).items():
        found = joined(benchmark, questions, given)
        for question in questions:
            text = found.responses.get(question.question_id)
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
