"""Files of benchmarks as `mbpo eval` hands them over, and the figures of given answers."""

import json

from mbpo_core.evaluation.benchmarks import BENCHMARKS
from mbpo_core.evaluation.join import join
from mbpo_core.evaluation.protocol import Answer
from tests.mbpo_core.evaluation.published import source


def restored(question):
    """A question as it comes back from storage: its facts went through JSON."""
    return type(question)(**{**vars(question), "facts": json.loads(json.dumps(question.facts))})


def answers(name, benchmark, records, reviews=None, partial=False):
    """Score the records of a file of answers."""
    definition = BENCHMARKS[name]
    found = join(benchmark.questions, records, definition.keys, fields=definition.fields,
                 response=definition.response, partial=partial,
                 subset=definition.subset)  # fmt: skip
    asked = {q.question_id: restored(q) for q in benchmark.questions
             if q.question_id in found.responses}  # fmt: skip
    return [
        Answer("m", asked[i].benchmark, i, asked[i].kind, asked[i].unit, text,
               benchmark.score(asked[i], text, (reviews or {}).get(i)))
        for i, text in found.responses.items()
    ]  # fmt: skip


def figures(blocks, scored):
    """Values by metric, and the only kind."""
    found = blocks([a for a in scored if a.score.reason is None])
    values = {f.metric: float(f.value(b.terms.sum(0))) for b in found for f in b.figures}
    return values, [b.kind for b in found]


__all__ = ["answers", "figures", "restored", "source"]
