"""What the tests of judged benchmarks share."""

from mbpo_core.evaluation.protocol import Answer, Review, SourceFile
from mbpo_core.evaluation.statistics import estimates


def file(content, name="file.json"):
    return SourceFile(name, content)


def review(text, *grades):
    return Review(text, model="judge", asked_at="", grades=grades)


def scored(benchmark, reviews, response="a response"):
    """Return the answers to all questions, each scored by its review."""
    return [
        Answer("m", q.benchmark, q.question_id, q.kind, q.unit or q.question_id, response,
               benchmark.score(q, response, reviews[q.question_id]))
        for q in benchmark.questions
    ]  # fmt: skip


def figures(blocks):
    """Return the value of each figure by kind and name."""
    return {
        (block.kind, figure.metric): estimate.value
        for block in blocks
        for figure, estimate in estimates(block, draws=1, seed=0)
    }
