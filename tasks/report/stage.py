"""report -> page: one HTML file that shows the run, and a row for each of its sections."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from mbpo_core.config import Recipe
from storage.identity import Identity
from storage.refs import ArtifactRef
from storage.store import Coverage
from storage.tables import TableSpec
from tasks.report.recipe import shareable
from tasks.runtime import Runtime
from tasks.stage import Job, ShardRows, Stage

PAGE = TableSpec(
    "page",
    pa.schema(
        [
            ("section", pa.string()),
            ("rows", pa.int64()),  # of the store, that it is drawn from
            ("figures", pa.int32()),
            ("reason", pa.string()),  # why there is nothing to show
        ]
    ),
)
FILE = "report.html"
_RESOURCES = Path(__file__).with_name("page")
SECTIONS = ("stages", "gain", "attack", "gallery", "training", "evaluation", "provenance")


class Report(Stage):
    """A page that depends on nothing but the artifacts before it: no time, no host, no path."""

    name = "report"
    inputs = ("ingest", "score", "select", "mine", "respond", "pair", "train", "ask", "answer",
              "evaluate")  # fmt: skip
    tables = (PAGE,)
    seeded = False
    libraries = ("plotly", "jinja2", "pillow", "numpy", "pyarrow")

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the whole recipe: the page tells it."""
        return {"recipe": shareable(recipe.model_dump(mode="json"))}

    def resources(self) -> dict[str, str]:
        """Return the hashes of templates, styles and scripts."""
        return {f"tasks/report/page/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(_RESOURCES.iterdir()) if path.is_file()}  # fmt: skip

    def identity(
        self, recipe: Recipe, runtime: Runtime, inputs: Mapping[str, ArtifactRef]
    ) -> Identity:
        """Return what makes a version: inputs enter by key too, because the page names them."""
        named = {stage: f"{ref.key}.{ref.content}" for stage, ref in inputs.items()}
        return replace(super().identity(recipe, runtime, inputs), inputs=named)

    def shards(self, job: Job) -> int:
        """It is one page."""
        return 1

    def run(self, job: Job, shard: int) -> ShardRows:
        """Draw the page."""
        # Here, not above: every command and every worker imports the stages.
        from tasks.report.page import draw
        from tasks.report.sources import Sources

        sources = Sources(
            job.store, job.inputs, job.recipe.name, job.recipe.model_dump(mode="json")
        )
        page = draw(sources, job.recipe.report)
        path = job.store.work(self.name, job.key) / FILE
        path.write_text(page.html, encoding="utf-8", newline="\n")
        rows = [
            {"section": each.name, "rows": each.rows, "figures": len(each.figures),
             "reason": each.missing}
            for each in page.sections
        ]  # fmt: skip
        return ShardRows({"page": rows}, {FILE: path})

    def coverage(self, job: Job) -> list[Coverage]:
        """Every section has a row."""
        return [Coverage("page", "section", list(SECTIONS), unique=True)]
