"""evaluate -> metrics: answers scored as the official scripts do, and the figures of all models."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mbpo_core.config import Benchmark as BenchmarkConfig
from mbpo_core.config import EmbeddedBenchmark, HeldOutBenchmark, PublishedBenchmark, Recipe
from mbpo_core.evaluation.embedded import Embedded
from mbpo_core.evaluation.held_out import HeldOut
from mbpo_core.evaluation.metrics import metrics
from mbpo_core.evaluation.protocol import Answer, Benchmark, Question, Score
from storage.store import Coverage
from storage.tables import TableSpec
from tasks.ask import QUESTIONS, question_of
from tasks.benchmark_files import fingerprint_files
from tasks.benchmarks import blocks_of, published
from tasks.rows import chunk, read
from tasks.runtime import Runtime
from tasks.stage import Job, ShardRows, Stage, slices

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
    tables = (METRICS, PREDICTIONS)
    libraries = ("numpy", "pyarrow")
    finishing = True
    counted = "predictions"

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return how it is scored; which questions there are, the answers say."""
        evaluate = recipe.evaluate
        kinds = sorted({each.kind for each in evaluate.benchmarks})
        return {"benchmarks": kinds, "bootstrap": evaluate.bootstrap, "seed": evaluate.seed,
                "shard_rows": evaluate.shard_rows}  # fmt: skip

    def external(self, recipe: Recipe, runtime: Runtime) -> dict[str, str]:
        """Return the content of the files of published benchmarks: truths and synonyms."""
        return {
            each.kind: fingerprint_files(each.questions)
            for each in recipe.evaluate.benchmarks
            if isinstance(each, PublishedBenchmark)
        }

    def shards(self, job: Job) -> int:
        """Return one shard for every `shard_rows` answers."""
        return len(slices(len(_answers(job)), job.recipe.evaluate.shard_rows))

    def run(self, job: Job, shard: int) -> ShardRows:
        """Score one run of answers."""
        benchmarks = {each.name: _scorer(each) for each in job.recipe.evaluate.benchmarks}
        questions = _questions(job)
        rows = []
        for answer in chunk(_answers(job), job.recipe.evaluate.shard_rows, shard):
            question = questions[answer["asked_id"]]
            score = _score(benchmarks[question.benchmark], question, answer)
            rows.append(_row(question, answer, score))
        return ShardRows({"predictions": rows})

    def finish(self, job: Job) -> ShardRows:
        """Sum up the predictions of all shards."""
        found: dict[tuple[str, str], list[Answer]] = defaultdict(list)
        for shard in job.store.staged_shards(self.name, job.key):
            for row in pq.read_table(shard.table("predictions")).to_pylist():
                found[row["model"], row["benchmark"]].append(answer_of(row))
        config = job.recipe.evaluate
        rows = [
            {"model": m.model, "benchmark": m.benchmark, "kind": m.kind, "metric": m.metric,
             "better": m.better} | vars(m.estimate)
            for (_, benchmark), answers in sorted(found.items())
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


def _score(benchmark: Benchmark, question: Question, answer: Row) -> Score:
    if answer["reason"] is not None:
        return Score(reason=answer["reason"])
    return benchmark.score(question, answer["response"])


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
