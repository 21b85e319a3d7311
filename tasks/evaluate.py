"""evaluate -> metrics: answers scored as the official scripts do, and the figures of all models."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from mbpo_core.config import Benchmark as BenchmarkConfig
from mbpo_core.config import EmbeddedBenchmark, HeldOutBenchmark, PublishedBenchmark, Recipe
from mbpo_core.config.evaluation import JUDGED
from mbpo_core.config.judge import EndpointJudge, StoredReviews
from mbpo_core.evaluation.embedded import Embedded
from mbpo_core.evaluation.held_out import HeldOut
from mbpo_core.evaluation.judge import unjudged
from mbpo_core.evaluation.metrics import metrics
from mbpo_core.evaluation.protocol import (
    Answer,
    Benchmark,
    BenchmarkError,
    JudgedBenchmark,
    Question,
    Score,
)
from storage.store import Coverage
from storage.tables import TableSpec
from tasks.ask import QUESTIONS, asked_id, question_of
from tasks.benchmark_files import fingerprint_files
from tasks.benchmarks import blocks_of, published
from tasks.reviews import REVIEWS, Judged, Verdict, asked_reviews, stored_reviews
from tasks.rows import chunk, read
from tasks.runtime import Runtime
from tasks.stage import Job, ShardRows, Stage, slices

logger = logging.getLogger(__name__)
METRICS = TableSpec(
    "metrics",
    pa.schema(
        [
            ("model", pa.string()),
            ("benchmark", pa.string()),
            ("kind", pa.string()),
            ("metric", pa.string()),
            ("value", pa.float64()),
            ("n", pa.int32()),
            ("low", pa.float64()),
            ("high", pa.float64()),
            ("method", pa.string()),
            ("better", pa.int8()),
            ("judge", pa.string()),
            ("judged_at", pa.string()),
        ]
    ),
)
PREDICTIONS = TableSpec(
    "predictions",
    pa.schema(
        [
            ("prediction_id", pa.string()),
            ("model", pa.string()),
            ("benchmark", pa.string()),
            ("kind", pa.string()),
            ("unit", pa.string()),
            ("question_id", pa.string()),
            ("question", pa.string()),
            ("answer", pa.string()),
            ("response", pa.string()),
            ("finished", pa.bool_()),
            ("correct", pa.bool_()),
            ("points", pa.float64()),
            ("extracted", pa.string()),
            ("rule", pa.string()),
            ("said_yes", pa.bool_()),
            ("mentions", pa.int32()),
            ("hallucinated", pa.int32()),
            ("iig_mean", pa.float64()),
            ("facts", pa.string()),
            ("reason", pa.string()),
        ]
    ),
)
_ANSWERS = ("asked_id", "model", "response", "finished", "iig_mean", "reason")
Row = dict[str, Any]


class Evaluate(Stage):
    """Scores of all answers; metrics with n and a confidence interval."""

    name = "evaluate"
    inputs = ("ask", "answer")
    seeded = False
    tables = (METRICS, PREDICTIONS, REVIEWS)
    libraries = ("numpy", "pyarrow", "nltk", "textblob")
    finishing = True
    counted = "predictions"

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return how it is scored; which questions there are, the answers say."""
        evaluate = recipe.evaluate
        kinds = sorted({each.kind for each in evaluate.benchmarks})
        judge = evaluate.judge
        how = None if judge is None else judge.model_dump(mode="json", include={"kind", "model"})
        return {"benchmarks": kinds, "bootstrap": evaluate.bootstrap, "seed": evaluate.seed,
                "shard_rows": evaluate.shard_rows, "judge": how}  # fmt: skip

    def external(self, recipe: Recipe, runtime: Runtime) -> dict[str, str]:
        """Return the content of the files of published benchmarks: truths and synonyms."""
        judge = recipe.evaluate.judge
        reviews = fingerprint_files([judge.path]) if isinstance(judge, StoredReviews) else None
        return {
            each.kind: fingerprint_files(each.questions)
            for each in recipe.evaluate.benchmarks
            if isinstance(each, PublishedBenchmark)
        } | ({} if reviews is None else {"reviews": reviews})

    def shards(self, job: Job) -> int:
        """Return one shard for every `shard_rows` answers."""
        return len(slices(len(_answers(job)), job.recipe.evaluate.shard_rows))

    def run(self, job: Job, shard: int) -> ShardRows:
        """Score one run of answers."""
        benchmarks = {each.name: _scorer(each) for each in job.recipe.evaluate.benchmarks}
        questions = _questions(job)
        answers = chunk(_answers(job), job.recipe.evaluate.shard_rows, shard)
        verdicts, reviews = _verdicts(job, shard, benchmarks, questions, answers)
        rows = []
        for answer in answers:
            question = questions[answer["asked_id"]]
            verdict = verdicts.get((answer["model"], answer["asked_id"]), Verdict())
            score = _score(benchmarks[question.benchmark], question, answer, verdict)
            rows.append(_row(question, answer, score))
        return ShardRows({"predictions": rows, "reviews": reviews})

    def finish(self, job: Job) -> ShardRows:
        """Sum up the predictions of all shards."""
        found: dict[tuple[str, str], list[Answer]] = defaultdict(list)
        judges: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        for shard in job.store.staged_shards(self.name, job.key):
            for row in pq.read_table(shard.table("predictions")).to_pylist():
                found[row["model"], row["benchmark"]].append(answer_of(row))
            for row in pq.read_table(shard.table("reviews")).to_pylist():
                if row["reason"] is None:
                    judged = (row["reviewed_by"], row["asked_at"])
                    judges[row["model"], row["benchmark"]].append(judged)
        config = job.recipe.evaluate
        rows = [
            {"model": m.model, "benchmark": m.benchmark, "kind": m.kind, "metric": m.metric,
             "better": m.better} | vars(m.estimate) | _judged_by(judges[model, benchmark])
            for (model, benchmark), answers in sorted(found.items())
            for m in metrics(
                answers, blocks_of(benchmark), draws=config.bootstrap, seed=config.seed)
        ]  # fmt: skip
        return ShardRows({"metrics": rows})

    def coverage(self, job: Job) -> list[Coverage]:
        """Every answer has one row, scored or with a reason."""
        ids = [f"{row['model']}:{row['asked_id']}" for row in _answers(job)]
        return [Coverage("predictions", "prediction_id", ids, unique=True)]


def answer_of(row: Row) -> Answer:
    """Return a stored prediction as the figures read it."""
    score = {name: row[name] for name in Score.__dataclass_fields__ if name != "facts"}
    return Answer(
        **{name: row[name] for name in ("model", "benchmark", "question_id", "kind", "unit")},
        response=row["response"] or "",
        score=Score(**score, facts=json.loads(row["facts"])),
        iig_mean=row["iig_mean"],
        finished=row["finished"],
    )


def _answers(job: Job) -> list[Row]:
    return read(job.store, job.inputs["answer"], "answers", _ANSWERS)


def _questions(job: Job) -> dict[str, Question]:
    rows = read(job.store, job.inputs["ask"], "questions", QUESTIONS.schema.names)
    return {row["asked_id"]: question_of(row) for row in rows}


def _scorer(config: BenchmarkConfig) -> Benchmark:
    """Return what scores answers; our own benchmarks need no more than the stored question."""
    if isinstance(config, EmbeddedBenchmark):
        return Embedded(())
    return HeldOut(()) if isinstance(config, HeldOutBenchmark) else published(config)


def _verdicts(
    job: Job, shard: int, benchmarks: dict[str, Benchmark], questions: dict[str, Question],
    answers: Sequence[Row],
) -> tuple[dict[tuple[str, str], Verdict], list[Row]]:  # fmt: skip
    """Return what the judge says, by model and question, and the rows that tell of it."""
    judge = job.recipe.evaluate.judge
    found: dict[tuple[str, str], Verdict] = {}
    rows: list[Row] = []
    for name in (each.name for each in job.recipe.evaluate.benchmarks if each.kind in JUDGED):
        judged = [
            Judged(a["model"], name, questions[a["asked_id"]], a["response"])
            for a in answers
            if a["reason"] is None and questions[a["asked_id"]].benchmark == name
        ]
        if isinstance(judge, StoredReviews):
            verdicts, told = stored_reviews(judge, name, benchmarks[name].questions, judged)
        else:
            assert isinstance(judge, EndpointJudge), "the recipe was checked"
            journal = job.store.work(Evaluate.name, job.key) / f"reviews-{shard:05d}.jsonl"
            verdicts, told = asked_reviews(
                judge, cast(JudgedBenchmark, benchmarks[name]), judged, job.store, journal
            )
        rows += told
        for each, verdict in zip(judged, verdicts, strict=True):
            found[each.model, asked_id(each.question)] = verdict
    return found, rows


def _judged_by(reviews: list[tuple[str, str]]) -> Row:
    """Return which models judged, and when the last of them did; stored output may not say."""
    models = sorted({model for model, _ in reviews if model})
    moments = sorted(moment for _, moment in reviews if moment)
    return {
        "judge": ", ".join(models) or None if reviews else None,
        "judged_at": moments[-1] if moments else None,
    }


def _score(benchmark: Benchmark, question: Question, answer: Row, verdict: Verdict) -> Score:
    if answer["reason"] is not None:
        return Score(reason=answer["reason"])
    if verdict.reason is not None:
        return unjudged(verdict.reason)
    try:
        return benchmark.score(question, answer["response"], verdict.review)
    except BenchmarkError:  # the benchmark's own files: no answer's fault
        raise
    except Exception as error:  # whatever an answer may set off
        logger.exception("answer of %s to %s", answer["model"], answer["asked_id"])
        return Score(reason=f"error:{type(error).__name__}")


def _row(question: Question, answer: Row, score: Score) -> Row:
    facts = json.dumps(dict(score.facts), ensure_ascii=False, sort_keys=True)
    return {
        "prediction_id": f"{answer['model']}:{answer['asked_id']}",
        "model": answer["model"],
        "benchmark": question.benchmark,
        "kind": question.kind,
        "unit": question.unit,
        "question_id": question.question_id,
        "question": question.text,
        "answer": question.answer,
        **{name: answer[name] for name in ("response", "finished", "iig_mean")},
        **vars(score),
        "facts": facts,
    }
