"""Reading of benchmark files and of figures, for tests."""

import gzip
import json

from mbpo_core.evaluation.protocol import Answer, SourceFile
from mbpo_core.evaluation.statistics import estimates


def source(path):
    """Read a published file as the command line does: `.gz` unpacked, JSON lines as records.

    POPE's files are called `.json` and hold JSON lines.
    """
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    name, text = path.name.removesuffix(".gz"), data.decode()
    if not name.endswith((".json", ".jsonl")):
        return SourceFile(name, text)
    try:
        return SourceFile(name, json.loads(text))
    except json.JSONDecodeError:
        return SourceFile(name, [json.loads(line) for line in text.split("\n") if line.strip()])


def scored(benchmark, responses, model="m"):
    """Answers of one model, from a mapping of question ids to responses."""
    return [
        Answer(
            model, q.benchmark, q.question_id, q.kind, q.unit or q.question_id,
            responses[q.question_id], benchmark.score(q, responses[q.question_id]),
        )
        for q in benchmark.questions if q.question_id in responses
    ]  # fmt: skip


def figures(blocks):
    """Estimates by kind and metric."""
    found = {
        (each.kind, figure.metric): estimate
        for each in blocks
        for figure, estimate in estimates(each, draws=2, seed=0)
    }
    assert len(found) == sum(len(each.figures) for each in blocks), "a figure stands twice"
    return found


def values(blocks):
    """Values of the figures by kind and metric."""
    return {key: estimate.value for key, estimate in figures(blocks).items()}
