"""`mbpo eval`: its commands, and the options that they share."""

from __future__ import annotations

import typer

from flows.evaluation.compare import compare
from flows.evaluation.lmms import command as lmms
from flows.evaluation.measure import benchmarks, model, responses
from flows.evaluation.table import table

evaluation = typer.Typer(
    no_args_is_help=True,
    help="Score a checkpoint, or answers that somebody else produced, as the official scripts do.",
)
evaluation.command()(benchmarks)
evaluation.command()(responses)
evaluation.command()(model)
evaluation.command()(compare)
evaluation.command()(table)
evaluation.command(name="lmms")(lmms)
