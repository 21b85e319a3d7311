"""What Prefect's own page shows of a run: how far each stage is, what it made, what was refused.

All of it is told to the server while the run goes on and none of it is needed: a server that does
not answer costs a line of log, never the run.
"""

from __future__ import annotations

import base64
import io
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any
from uuid import UUID

from prefect import artifacts
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from storage.manifest import Manifest
from storage.refs import ArtifactRef
from storage.store import ArtifactStore
from tasks.gallery import draw_gallery
from tasks.materialise import Materialised
from tasks.registry import ORDER

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]

PROGRESS_SECONDS = 1.0
"""At most one update of a bar in so many seconds."""
GALLERY_ROWS = 6
GALLERY_BYTES = 400_000
"""A picture lies in the server's database: a larger one is left out."""
_METRICS = ("model", "benchmark", "kind", "metric", "value", "low", "high", "n")


def _optional(told: Callable[..., None]) -> Callable[..., None]:
    """Let a method of the page fail with a line of log."""

    @wraps(told)
    def wrapped(self: RunPage, *arguments: Any) -> None:
        try:
            told(self, *arguments)
        except Exception as error:  # whatever a server or a picture may come up with
            self._log.warning("not shown in Prefect (%s): %s", told.__name__, error)

    return wrapped


class RunPage:
    """Artifacts and tags of the flow run that this is called in.

    Args:
        store: where what the run makes lies.
        recipe: its name; the artifacts of all runs of one recipe share their keys, so that Prefect
            shows them as versions of one thing.
        log: of the run.
    """

    def __init__(self, store: ArtifactStore, recipe: str, log: Log) -> None:
        self._store = store
        self._recipe = recipe
        self._log = log
        self._bars: dict[str, UUID] = {}
        self._moved: dict[str, float] = {}
        self._failed: list[dict[str, str]] = []

    @_optional
    def tags(self, words: Iterable[str]) -> None:
        """Tag the flow run, beside the tags it has."""
        with get_client(sync_client=True) as client:
            found = client.read_flow_run(UUID(flow_run.id))
            client.update_flow_run(found.id, tags=sorted({*found.tags, *words}))

    @_optional
    def progress(self, stage: str, done: int, planned: int) -> None:
        """Move the bar of a stage."""
        percent = 100.0 * done / max(planned, 1)
        words = f"{self._recipe}: {stage}, {done} of {planned} shards"
        if stage not in self._bars:
            self._bars[stage] = artifacts.create_progress_artifact(
                progress=percent, key=self._key(stage, "progress"), description=words
            )
        elif done == planned or time.monotonic() - self._moved[stage] > PROGRESS_SECONDS:
            artifacts.update_progress_artifact(self._bars[stage], percent, description=words)
        else:
            return
        self._moved[stage] = time.monotonic()

    @_optional
    def finished(self, stage: str, made: Materialised) -> None:
        """Show what a stage made."""
        manifest = self._store.manifest(made.ref)
        text = stage_text(manifest, made, str(self._store.path(made.ref).absolute()))
        artifacts.create_markdown_artifact(
            text, key=self._key(stage), description=f"{made.ref.short}: {manifest.rows} rows"
        )
        if stage == "respond":
            self._gallery(made.ref)

    def failed_try(self, shard: str, why: str) -> None:
        """Remember that a shard failed and is tried again; called from its thread."""
        self._failed.append({"shard": shard, "failed because": why})

    @_optional
    def tried_again(self) -> None:
        """Show which shards failed and were tried again: Prefect counts, but does not list them."""
        if self._failed:
            artifacts.create_table_artifact(
                sorted(self._failed, key=lambda row: row["shard"]),
                key=self._key("tries"), description=f"{self._recipe}: shards tried again",
            )  # fmt: skip

    @_optional
    def completed(self, refs: Mapping[str, ArtifactRef]) -> None:
        """Show all stages of the run as one table, and its metrics as another."""
        found = {name: self._store.manifest(refs[name]) for name in ORDER if name in refs}
        artifacts.create_table_artifact(
            [stage_row(name, manifest) for name, manifest in found.items()],
            key=self._key("stages"), description=f"{self._recipe}: rows, and those refused",
        )  # fmt: skip
        if "evaluate" in refs:
            rows = self._store.table(refs["evaluate"], "metrics").select(_METRICS).to_pylist()
            artifacts.create_table_artifact(
                sorted(rows, key=lambda row: [str(row[name]) for name in _METRICS]),
                key=self._key("metrics"), description=f"{self._recipe}: 95 % intervals",
            )  # fmt: skip

    def _gallery(self, ref: ArtifactRef) -> None:
        try:
            sheet, mined = draw_gallery(self._store, ref.short, GALLERY_ROWS)
        except ValueError as error:  # a recipe without a miner
            self._log.info("no gallery: %s", error)
            return
        buffer = io.BytesIO()
        sheet.convert("RGB").save(buffer, format="WEBP", quality=80)
        if buffer.tell() > GALLERY_BYTES:
            self._log.info("gallery of %d bytes left out; see `mbpo gallery`", buffer.tell())
            return
        encoded = base64.b64encode(buffer.getvalue()).decode()
        artifacts.create_image_artifact(
            f"data:image/webp;base64,{encoded}", key=self._key("gallery"),
            description=f"{mined.short}: clean, negative, difference, responses",
        )  # fmt: skip

    def _key(self, *words: str) -> str:
        """Prefect takes lower-case letters, digits and dashes."""
        return re.sub(r"[^a-z0-9]+", "-", "-".join((self._recipe, *words)).lower()).strip("-")


def stage_row(name: str, manifest: Manifest) -> dict[str, Any]:
    """Return a stage's row of the table: its artifact, its rows, what was refused and why."""
    reasons = manifest.reasons.get(manifest.artifact, {})
    return {
        "stage": name,
        "artifact": manifest.ref.short,
        "table": manifest.artifact,
        "rows": manifest.rows,
        "refused": sum(reasons.values()),
        "why": ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())),
        "MB": round(manifest.bytes / 1e6, 2),
        "seconds": round(manifest.wall_seconds, 1),
    }


def stage_text(manifest: Manifest, made: Materialised, folder: str) -> str:
    """Return what is to be said of one stage, as Markdown."""
    row = stage_row(made.ref.stage, manifest)
    state = "from the store" if made.hit else f"shards computed: {len(made.computed)}"
    inputs = sorted(manifest.inputs.items())
    lines = [
        f"# {row['stage']}: {row['table']}",
        f"`{row['artifact']}`, {state}: **{row['rows']} rows**, {row['refused']} of them refused, "
        f"{row['MB']} MB",
        *_table("refused because", "rows", manifest.reasons.get(manifest.artifact, {})),
        *_table("made from", "stage", {f"`{ref.short}`": name for name, ref in inputs}),
        f"Look at it with `mbpo show {row['artifact']}`; it lies in `{folder}`.",
    ]
    return "\n\n".join(lines)


def _table(left: str, right: str, rows: Mapping[str, Any]) -> list[str]:
    if not rows:
        return []
    body = [f"| {name} | {value} |" for name, value in rows.items()]
    return ["\n".join([f"| {left} | {right} |", "|---|---|", *body])]
