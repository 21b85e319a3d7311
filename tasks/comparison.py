"""compare -> comparisons: two models on the same questions, paired, each question told apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from mbpo_core.config import Recipe
from mbpo_core.evaluation.metrics import Comparison, compare
from mbpo_core.evaluation.protocol import Answer
from storage.refs import ArtifactRef
from storage.store import ArtifactStore, Coverage
from storage.tables import TableSpec
from tasks.benchmarks import blocks_of
from tasks.evaluate import answer_of
from tasks.stage import Job, ShardRows, Stage

COMPARISONS = TableSpec(
    "comparisons",
    pa.schema(
        [
            ("benchmark", pa.string()),
            ("kind", pa.string()),
            ("metric", pa.string()),
            ("a_model", pa.string()),
            ("b_model", pa.string()),
            ("a", pa.float64()),
            ("b", pa.float64()),
            ("difference", pa.float64()),
            ("low", pa.float64()),
            ("high", pa.float64()),
            ("n", pa.int32()),
            ("verdict", pa.string()),
        ]
    ),
)
COMPARED_ANSWERS = TableSpec(
    "compared_answers",
    pa.schema(
        [
            ("benchmark", pa.string()),
            ("question_id", pa.string()),
            ("kind", pa.string()),
            ("a_response", pa.string()),
            ("b_response", pa.string()),
            ("a_points", pa.float64()),
            ("b_points", pa.float64()),
            ("outcome", pa.string()),
            ("reason", pa.string()),
        ]
    ),
)
UNSCORED = "unscored"
Row = dict[str, Any]
By = dict[str, dict[str, Answer]]
"""Answers by benchmark and question id."""


class Compare(Stage):
    """Paired bootstrap differences of every figure, and wins and losses of every question."""

    name = "compare"
    inputs = ("a", "b")
    seeded = False
    tables = (COMPARISONS, COMPARED_ANSWERS)
    libraries = ("numpy", "pyarrow")

    def __init__(self, a_model: str, b_model: str, draws: int, seed: int) -> None:
        self.a_model, self.b_model, self.draws, self.seed = a_model, b_model, draws, seed

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return which models are compared, and how."""
        return {"a_model": self.a_model, "b_model": self.b_model, "draws": self.draws,
                "seed": self.seed}  # fmt: skip

    def shards(self, job: Job) -> int:
        """It is one piece."""
        return 1

    def run(self, job: Job, shard: int) -> ShardRows:
        """Compare what both have."""
        a = answers_of(job.store, job.inputs["a"], self.a_model)
        b = answers_of(job.store, job.inputs["b"], self.b_model)
        figures, answers = [], []
        for benchmark in sorted(a.keys() & b.keys()):
            found = compare(
                list(a[benchmark].values()), list(b[benchmark].values()), blocks_of(benchmark),
                draws=self.draws, seed=self.seed,
            )  # fmt: skip
            figures += [self._figure(each) for each in found]
            answers += list(_outcomes(benchmark, a[benchmark], b[benchmark]))
        return ShardRows({"comparisons": figures, "compared_answers": answers})

    def coverage(self, job: Job) -> list[Coverage]:
        """Every question of a common benchmark has a row."""
        a = answers_of(job.store, job.inputs["a"], self.a_model)
        b = answers_of(job.store, job.inputs["b"], self.b_model)
        ids = {name for benchmark in a.keys() & b.keys() for name in a[benchmark] | b[benchmark]}
        return [Coverage("compared_answers", "question_id", sorted(ids))]

    def _figure(self, each: Comparison) -> Row:
        return {
            "benchmark": each.benchmark, "kind": each.kind, "metric": each.metric,
            "a_model": self.a_model, "b_model": self.b_model, "verdict": verdict(each),
        } | vars(each.difference)  # fmt: skip


def answers_of(store: ArtifactStore, ref: ArtifactRef, model: str) -> By:
    """Return the scored answers of one model in an evaluation."""
    found: By = defaultdict(dict)
    for row in store.table(ref, "predictions").to_pylist():
        if row["model"] == model:
            found[row["benchmark"]][row["question_id"]] = answer_of(row)
    return dict(found)


def _outcomes(benchmark: str, a: Mapping[str, Answer], b: Mapping[str, Answer]) -> list[Row]:
    """Return a row for every question: who has more points, or why that is not known."""
    rows = []
    for question in sorted(a.keys() | b.keys()):
        one, other = a.get(question), b.get(question)
        known = one or other
        assert known is not None
        reason = _why_not("a", one) or _why_not("b", other)
        mine, theirs = (x.score.points if x else None for x in (one, other))
        rows.append(
            {
                "benchmark": benchmark, "question_id": question, "kind": known.kind,
                "a_response": one.response if one else None,
                "b_response": other.response if other else None,
                "a_points": mine, "b_points": theirs,
                "outcome": None if reason else _outcome(mine, theirs), "reason": reason,
            }
        )  # fmt: skip
    return rows


def _why_not(name: str, answer: Answer | None) -> str | None:
    if answer is None:
        return f"{name}:not_asked"
    if answer.score.reason is not None:
        return f"{name}:{answer.score.reason}"
    return f"{name}:{UNSCORED}" if answer.score.points is None else None


def _outcome(a: float | None, b: float | None) -> str:
    """Return `win` where b has more points than a."""
    assert a is not None and b is not None
    return "tie" if a == b else "win" if b > a else "loss"


def verdict(each: Comparison) -> str:
    """Return what the interval says: `better`, `worse` or `different` of b, or `not shown`."""
    low, high = each.difference.low, each.difference.high
    if low is None or high is None or low <= 0 <= high:
        return "not shown"
    if each.better == 0:
        return "different"
    return "better" if (low > 0) == (each.better > 0) else "worse"
