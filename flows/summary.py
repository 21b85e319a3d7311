"""The results of the latest run as text: what each stage made, and the metrics side by side."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from storage.catalog import query
from storage.runs import read_runs
from storage.store import ArtifactStore
from tasks.registry import ORDER


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
        console.print(_metrics(root))
    console.print(f"artifacts: {root.absolute()}")
    console.print(f"query them: mbpo sql 'select * from metrics'   or open {root}/catalog.duckdb")
    return console.export_text()


def _metrics(root: Path) -> Table:
    rows = query(
        root,
        """
        select benchmark, kind, metric,
               any_value(value) filter (model = 'base') as base,
               any_value(low) filter (model = 'base') as base_low,
               any_value(high) filter (model = 'base') as base_high,
               any_value(value) filter (model = 'trained') as trained,
               any_value(low) filter (model = 'trained') as trained_low,
               any_value(high) filter (model = 'trained') as trained_high,
               any_value(n) as n
        from metrics where kind != 'all' or metric = 'iig_mean'
        group by all order by benchmark, metric, kind
        """,
    ).fetchall()
    table = Table("benchmark", "metric", "questions", "n", "base", "trained",
                  title="metrics, with 95 % intervals")  # fmt: skip
    for benchmark, kind, metric, b, b_low, b_high, t, t_low, t_high, n in rows:
        table.add_row(
            benchmark, metric, kind, str(n), _figure(b, b_low, b_high), _figure(t, t_low, t_high)
        )  # fmt: skip
    return table


def _figure(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" + ("" if low is None else f"  {low:.3f}..{high:.3f}")


class _Nowhere:
    """A file that forgets: the console only records."""

    def write(self, text: str) -> int:
        """Forget the text."""
        return len(text)

    def flush(self) -> None:
        """Do nothing."""
