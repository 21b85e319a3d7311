"""The results of the latest run as text: what each stage made, and the metrics side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mbpo_core.evaluation.metrics import FAILURES
from storage.runs import read_runs
from storage.staging import FILES
from storage.store import ArtifactStore
from tasks.order import ORDER
from tasks.report.stage import FILE
from tasks.shown import is_shown


def results_table(root: Path, width: int = 110) -> str:
    """Return the tables of the latest run in `root`, and where its artifacts are."""
    store = ArtifactStore(root)
    runs = read_runs(store.root)
    if not runs:
        return f"no run in {root}"
    run = runs[-1]
    console = Console(width=width, record=True, file=_Nowhere())
    made = Table("stage", "artifact", "rows", "MB", "refused", title=f"{run.recipe}: artifacts")
    for stage in (name for name in ORDER if name in run.stages):
        ref = run.stages[stage]
        manifest = store.manifest(ref)
        main = manifest.artifact
        made.add_row(
            stage,
            f"{main}  {ref.short}",
            str(manifest.rows),
            f"{manifest.bytes / 1e6:.1f}",
            ", ".join(f"{n} {why}" for why, n in manifest.reasons.get(main, {}).items()) or "-",
        )
    console.print(made)
    if "evaluate" in run.stages:
        rows = store.table(run.stages["evaluate"], "metrics").to_pylist()
        console.print(metrics_table(sorted(rows, key=_by_name)))
    if "report" in run.stages:
        console.print(f"report: {store.path(run.stages['report']) / FILES / FILE}", soft_wrap=True)
    console.print(f"artifacts: {root.absolute()}")
    console.print(f"query them: mbpo sql 'select * from metrics'   or open {root}/catalog.duckdb")
    return console.export_text()


def _by_name(row: dict[str, Any]) -> tuple[str, ...]:
    return row["benchmark"], row["metric"], row["kind"], row["model"]


def metrics_table(rows: Sequence[dict[str, Any]], *, every_kind: bool = False) -> Table:
    """Return metrics of one or several models side by side, with their intervals.

    Of our own benchmarks every kind of question is shown, of the published ones the figures over
    all questions, unless `every_kind`. What could not be scored is shown where there is any.
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    cells: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    pooled = {(row["benchmark"], row["metric"]) for row in rows if row["kind"] == "all"}
    for row in rows:
        if every_kind or is_shown(row, pooled):
            place = (row["benchmark"], row["metric"], row["kind"])
            cells.setdefault(place, {})[row["model"]] = row
    table = Table("benchmark", "metric", "questions", "n", *models,
                  title="metrics, with 95 % intervals")  # fmt: skip
    for place, by_model in cells.items():
        if place[1] in FAILURES and not any(row["value"] for row in by_model.values()):
            continue
        n = next(iter(by_model.values()))["n"]
        table.add_row(*place, str(n), *[_figure(by_model.get(model)) for model in models])
    return table


def _figure(row: dict[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return "-"
    interval = "" if row["low"] is None else f"  {row['low']:.3f}..{row['high']:.3f}"
    return f"{row['value']:.3f}{interval}"


class _Nowhere:
    """A file that forgets: the console only records."""

    def write(self, text: str) -> int:
        """Forget the text."""
        return len(text)

    def flush(self) -> None:
        """Do nothing."""
