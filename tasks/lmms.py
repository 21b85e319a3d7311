"""lmms -> metrics: figures that lmms-eval measured, beside our own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mbpo_core.config import Recipe
from storage.identity import digest
from storage.refs import ArtifactRef
from storage.store import Coverage
from tasks.alone import make_alone
from tasks.evaluate import METRICS
from tasks.runtime import Runtime
from tasks.stage import Job, ShardRows, Stage

Row = dict[str, Any]


class Lmms(Stage):
    """Rows of `lmms_rows`; which way is better, lmms-eval does not say."""

    name = "lmms"
    seeded = False
    tables = (METRICS,)
    libraries = ("pyarrow",)

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = list(rows)

    def config(self, recipe: Recipe) -> Row:
        """Return nothing: the rows say it all."""
        return {}

    def external(self, recipe: Recipe, runtime: Runtime) -> dict[str, str]:
        """Return the content of the rows."""
        return {"rows": digest(self.rows)}

    def shards(self, job: Job) -> int:
        """It is one piece."""
        return 1

    def run(self, job: Job, shard: int) -> ShardRows:
        """Take the columns that our own metrics have."""
        names = [name for name in METRICS.schema.names if name not in ("better", "judged_at")]
        rows = [{name: row[name] for name in names} | {"judged_at": row["date"] if row["judge"]
                else None} for row in self.rows]  # fmt: skip
        return ShardRows({"metrics": rows})

    def coverage(self, job: Job) -> list[Coverage]:
        """Every benchmark of the rows has one."""
        return [Coverage("metrics", "benchmark", sorted({row["benchmark"] for row in self.rows}))]


def store_lmms(root: Path, rows: Sequence[Row]) -> ArtifactRef:
    """Store figures of lmms-eval; `metrics` shows them, `metrics_all` all that was measured."""
    return make_alone(Lmms(rows), root, {})
