"""The stages in their order."""

from __future__ import annotations

from tasks.answer import Answer
from tasks.ask import Ask
from tasks.evaluate import Evaluate
from tasks.ingest import Ingest
from tasks.mine import Mine
from tasks.order import ORDER as ORDER
from tasks.pair import Pair
from tasks.report.stage import Report
from tasks.respond import Respond
from tasks.score import Score
from tasks.selection import Select
from tasks.stage import Stage
from tasks.train import Train

_STAGES = {
    stage.name: stage
    for stage in (
        Ingest(),
        Score(),
        Select(),
        Mine(),
        Respond(),
        Pair(),
        Train(),
        Ask(),
        Answer(),
        Evaluate(),
        Report(),
    )
}
STAGES: dict[str, Stage] = {name: _STAGES[name] for name in ORDER}
