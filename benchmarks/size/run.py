"""One run of the flow at one size, and what it cost besides the model."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.pipeline_run import PROJECT
from benchmarks.size.source import write_pictures, write_records
from benchmarks.size.watch import ROLES, Seen, watched
from benchmarks.size.worker import notes
from deployments.home import Home
from storage.manifest import Manifest
from storage.runs import read_runs
from storage.store import ArtifactStore
from tasks.registry import ORDER

RECIPE = "mbpo-qwen2-vl-7b"
WORKERS = 2
STEPS = 2
"""Of the attack: its arithmetic is the model's, on a GPU in a real run."""


@dataclass(frozen=True)
class Place:
    """Where a run of one size lies."""

    folder: Path
    records: int
    distinct: int

    @property
    def root(self) -> Path:
        """Store of this size."""
        return self.folder / f"store-{self.records}"

    @property
    def home(self) -> Home:
        """Prefect's home of all sizes; the port is chosen by the launcher."""
        return Home(self.folder / "home", 0, "benchmarks.size")

    def source(self) -> Path:
        """Write the source if need be and return it."""
        path = self.folder / f"records-{self.records}.json"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_pictures(self.folder, self.distinct, self.records)
            write_records(path, self.records)
        return path


def settings(place: Place, extra: dict[str, Any]) -> dict[str, Any]:
    """Return what differs from the recipe of the real run."""
    source = {"kind": "files", "path": str(place.source()), "image_root": str(place.folder)}
    return {"ingest.source": source, "mine.steps": STEPS} | extra


def run(place: Place, extra: dict[str, Any]) -> dict[str, Any]:
    """Run the flow, or what is left of it, and return its figures."""
    before = _database_bytes(place.home)
    with watched(place.home, place.root):
        _launch(place, settings(place, extra))
    return figures(place, extra, before)


def figures(place: Place, extra: dict[str, Any], before: int = 0) -> dict[str, Any]:
    """Return the figures of a run, or of the stages that it has done so far.

    `before` is the size of Prefect's database when it began.
    """
    store, seen = ArtifactStore(place.root), Seen(place.root)
    refs = read_runs(place.root)[-1].stages
    manifests = {stage: store.manifest(refs[stage]) for stage in ORDER if stage in refs}
    return {
        "records": place.records,
        "flow_seconds": _flow_seconds(place.home),
        "task_runs": _task_runs(place.home),
        "prefect_bytes": _database_bytes(place.home) - before,
        "peak_mib": {role: seen.peak(role) for role in ROLES},
        "cpu_seconds": seen.cpu_seconds(),
        "stages": stage_figures(place.root, manifests, seen),
        "asked": asked(place, extra),
    }


def _launch(place: Place, changes: dict[str, Any]) -> None:
    words = [sys.executable, "-m", "deployments.launch", "run", RECIPE,
             "--package", place.home.package, "--home", str(place.home.folder),
             "--runtime", f"root={place.root}", "--runtime", f"workers={WORKERS}",
             "--runtime", 'devices=["cpu"]']  # fmt: skip
    for name, value in changes.items():
        words += ["--set", f"{name}={json.dumps(value)}"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(words, cwd=PROJECT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the run failed:\n{done.stdout}\n{done.stderr}")


def asked(place: Place, extra: dict[str, Any]) -> dict[str, float]:
    """Return seconds of `plan`, of a rebuilt catalogue, and of queries, with warm files."""
    changes = json.dumps(settings(place, extra))
    words = [sys.executable, "-m", "benchmarks.size.asked", RECIPE, changes, str(place.root)]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def stage_figures(
    root: Path, manifests: dict[str, Manifest], seen: Seen
) -> dict[str, dict[str, float]]:
    """Return the figures of every stage; seconds are of the wall clock unless they say CPU.

    A shard's parts: `read` artifacts and list rows, `work` on the rows (decode, tokenise, encode;
    without the stub), `write` and publish it, `hand_over` to the worker's next one. `around` is
    what the stage takes besides: its key, the plan, and the commit.
    """
    noted: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for note in notes(root):
        noted[note["stage"]].append(note)
    return {
        stage: {name: round(value, 4) for name, value in _stage(manifest, noted[stage], seen)}
        for stage, manifest in manifests.items()
    }


def _stage(
    manifest: Manifest, noted: list[dict[str, Any]], seen: Seen
) -> Iterator[tuple[str, float]]:
    shards, count = {shard["shard"]: shard for shard in manifest.shards}, len(noted)
    begin, end = noted[0]["began"], max(note["ended"] for note in noted)
    whole = {name: sum(note[name] for note in noted)
             for name in ("cpu_seconds", "run_cpu_seconds", "stub_seconds")}  # fmt: skip
    inside = sum(note["ended"] - note["began"] for note in noted)
    own = sum(shards[note["shard"]]["seconds"] for note in noted)
    model = sum(shards[note["shard"]]["model_seconds"] for note in noted)
    read = own - model if model else 0.0
    # Of a busy machine only CPU seconds repeat; reading has its share of those of the shard.
    read_cpu = whole["run_cpu_seconds"] * read / own if own else 0.0
    yield "shards", count
    yield "rows", manifest.rows
    yield "bytes", manifest.bytes
    yield "wall_seconds", manifest.wall_seconds
    yield "stub_seconds", whole["stub_seconds"]
    yield "work_cpu_seconds", whole["run_cpu_seconds"] - read_cpu
    yield "read_cpu_seconds_a_shard", read_cpu / count
    yield "write_cpu_seconds_a_shard", (whole["cpu_seconds"] - whole["run_cpu_seconds"]) / count
    yield "read_seconds_a_shard", read / count
    yield "write_seconds_a_shard", (inside - own) / count
    yield "hand_over_seconds_a_shard", _between(noted)
    yield "around_seconds", max(0.0, manifest.wall_seconds - (end - begin))
    yield "worker_mib", max(seen.peak("worker", begin, end), *(n["rss_mib"] for n in noted))
    yield "flow_mib", seen.peak("flow", begin, end)


def _between(noted: list[dict[str, Any]]) -> float:
    """Return the mean seconds in which a worker waited for its next shard."""
    last: dict[int, float] = {}
    waited = []
    for note in noted:
        if note["pid"] in last:
            waited.append(note["began"] - last[note["pid"]])
        last[note["pid"]] = note["ended"]
    return sum(waited) / len(waited) if waited else 0.0


def _database_bytes(home: Home) -> int:
    files = home.folder.glob("prefect.db*")
    return sum(file.stat().st_size for file in files)


def _ask_database(home: Home, query: str) -> Any:
    database = sqlite3.connect(f"file:{home.folder}/prefect.db?mode=ro", uri=True)
    try:
        return database.execute(query).fetchone()[0]
    finally:
        database.close()


_LAST = "(select id from flow_run order by created desc limit 1)"


def _task_runs(home: Home) -> int:
    return _ask_database(home, f"select count(*) from task_run where flow_run_id = {_LAST}")


def _flow_seconds(home: Home) -> float:
    now = "julianday(coalesce(end_time, 'now'))"
    query = f"select ({now} - julianday(start_time)) * 86400 from flow_run where id = {_LAST}"
    return round(_ask_database(home, query), 1)
