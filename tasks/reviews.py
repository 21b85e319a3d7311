"""Reviews of judged answers: from a file, from the store, or of an endpoint; every one is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from mbpo_core.config.judge import EndpointJudge, StoredReviews
from mbpo_core.evaluation.benchmarks import BENCHMARKS
from mbpo_core.evaluation.judge import Failure, next_request, request_id
from mbpo_core.evaluation.protocol import (
    JudgedBenchmark,
    JudgeRequest,
    Question,
    Review,
    SourceFile,
)
from storage.store import ArtifactStore
from storage.tables import TableSpec
from tasks.benchmark_files import read_file
from tasks.judging import ask

REVIEWS = TableSpec(
    "reviews",
    pa.schema(
        [
            ("review_id", pa.string()),
            ("request_id", pa.string()),
            ("benchmark", pa.string()),
            ("question_id", pa.string()),
            ("model", pa.string()),
            ("attempt", pa.int32()),
            ("judge", pa.string()),
            ("reviewed_by", pa.string()),
            ("asked_at", pa.string()),
            ("text", pa.string()),
            ("grades", pa.list_(pa.float64())),
            ("reason", pa.string()),
            ("detail", pa.string()),
        ]
    ),
)
NO_REVIEW = "no_review"
"""The file of stored reviews has none of this answer."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """One answer before a judge."""

    model: str
    benchmark: str
    question: Question
    response: str


@dataclass(frozen=True)
class Verdict:
    """The last review of an answer, or why there is none; nothing of both: none was needed."""

    review: Review | None = None
    reason: str | None = None


def stored_reviews(
    judge: StoredReviews, benchmark: str, questions: Sequence[Question], answers: Sequence[Judged]
) -> tuple[list[Verdict], list[Row]]:
    """Return the verdicts that a file holds, and the rows that tell of them."""
    path = Path(judge.path)
    reader = BENCHMARKS[benchmark].reviews
    assert reader is not None, f"{benchmark} reads no stored reviews"
    found = reader(questions, SourceFile(path.name.removesuffix(".gz"), read_file(path)))
    verdicts, rows = [], []
    for answer in answers:
        review = found.get(answer.question.question_id)
        verdicts.append(Verdict(review, None if review else NO_REVIEW))
        rows.append(_row(answer, 0, "", "", review or Failure(NO_REVIEW, path.name, "")))
    return verdicts, rows


def asked_reviews(
    judge: EndpointJudge, benchmark: JudgedBenchmark, answers: Sequence[Judged],
    store: ArtifactStore, journal: Path,
) -> tuple[list[Verdict], list[Row]]:  # fmt: skip
    """Return what a judge says of each answer, and the rows that tell of it.

    A request that was answered before, in any evaluation of the store, is not sent again; one that
    failed is. What comes in is written to `journal` at once, so that nothing is paid for twice.

    Raises:
        EndpointError: the endpoint serves nobody.
    """
    known = _from_store(store) | _from_journal(journal)
    said: list[list[Review]] = [[] for _ in answers]
    verdicts = [Verdict() for _ in answers]
    rows: list[Row] = []
    open_ = list(range(len(answers)))
    while open_:
        requests: dict[int, JudgeRequest] = {}
        for place in open_:
            each = answers[place]
            request = next_request(benchmark, each.question, each.response, said[place])
            if request is not None:
                requests[place] = request
        results = _results(judge, requests, known, journal)
        for place, result in results.items():
            name = request_id(judge.model, requests[place])
            rows.append(_row(answers[place], len(said[place]), judge.model, name, result))
            if isinstance(result, Review):
                said[place].append(result)
                verdicts[place] = Verdict(result)
            else:
                verdicts[place] = Verdict(None, result.reason)
        open_ = [place for place, result in results.items() if isinstance(result, Review)]
    return verdicts, rows


def _results(
    judge: EndpointJudge, requests: dict[int, JudgeRequest], known: dict[str, Review], journal: Path
) -> dict[int, Review | Failure]:
    names = {place: request_id(judge.model, request) for place, request in requests.items()}
    new = {name: requests[place] for place, name in names.items() if name not in known}
    waiting = list(new)

    def keep(place: int, result: Review | Failure) -> None:
        if isinstance(result, Review):
            with journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"request_id": waiting[place]} | asdict(result)) + "\n")

    found = ask(list(new.values()), judge, answered=keep) if new else []
    fresh = dict(zip(waiting, found, strict=True))
    known |= {name: result for name, result in fresh.items() if isinstance(result, Review)}
    return {place: known.get(name) or fresh[name] for place, name in names.items()}


def _from_store(store: ArtifactStore) -> dict[str, Review]:
    """Return every review that the store has, by request."""
    found = {}
    columns = ["request_id", "text", "reviewed_by", "asked_at", "reason"]
    for ref, manifest in store.refs("evaluate"):
        if REVIEWS.name not in manifest.tables or not any(
            part.rows for part in manifest.table_parts(REVIEWS.name)
        ):
            continue  # and what has some is never collected, see `tasks.keeping`
        for row in store.table(ref, REVIEWS.name, columns).to_pylist():
            if row["request_id"] and row["reason"] is None:
                review = Review(row["text"], row["reviewed_by"], row["asked_at"])
                found[row["request_id"]] = review
    return found


def _from_journal(journal: Path) -> dict[str, Review]:
    """Return what an interrupted evaluation had heard; a last line that a kill cut is left out."""
    if not journal.exists():
        return {}
    found = {}
    for line in journal.read_text(encoding="utf-8").split("\n")[:-1]:
        row = json.loads(line)
        name, grades = row.pop("request_id"), tuple(row.pop("grades"))
        found[name] = Review(**row, grades=grades)
    return found


def _row(answer: Judged, attempt: int, judge: str, request: str, result: Review | Failure) -> Row:
    where = f"{answer.model}:{answer.benchmark}/{answer.question.question_id}"
    row: Row = {
        "review_id": f"{where}#{attempt}", "request_id": request, "benchmark": answer.benchmark,
        "question_id": answer.question.question_id, "model": answer.model, "attempt": attempt,
        "judge": judge, "asked_at": result.asked_at,
    }  # fmt: skip
    if isinstance(result, Failure):
        return row | {"reason": result.reason, "detail": result.detail}
    return row | {"reviewed_by": result.model, "text": result.text, "grades": list(result.grades)}
