"""What the embedded run spends outside of its model: with Prefect, cached, and without Prefect."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tasks.catalogue
import tasks.inline
from benchmarks.measure import print_figures, print_ratio
from benchmarks.stages import run_inline
from benchmarks.timing import Interval, length, taken, within
from mbpo_core.config import Recipe
from storage.refs import ArtifactRef
from storage.runs import read_runs
from storage.store import ArtifactStore
from tasks.stage import Job, Stage

PROJECT = Path(__file__).parents[1]
INLINE_STEPS = 2
"""Steps of training in the run without Prefect: what lies outside of the model is the same."""


@dataclass(frozen=True)
class Run:
    """A run of the flow as it went, in seconds since the epoch."""

    command: Interval
    """From the command to its return: a server of its own, the run, and its end."""
    flow: Interval
    refs: list[ArtifactRef]


def command(home: Path, root: Path, limit: int | None, settings: Sequence[str]) -> Run:
    """Run the embedded recipe as `make run` does; raises RuntimeError with its output."""
    words = [sys.executable, "-m", "deployments.launch", "run", "mbpo", "--home", str(home),
             "--runtime", f"root={root}"]  # fmt: skip
    words += ["--limit", str(limit)] if limit else []
    words += [word for setting in settings for word in ("--set", setting)]
    started = time.time()
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True)
    ended = time.time()
    if done.returncode:
        raise RuntimeError(f"the run failed:\n{done.stdout}\n{done.stderr}")
    return Run((started, ended), _flow(home), list(read_runs(root)[-1].stages.values()))


def _flow(home: Path) -> Interval:
    """Return start and end of the last flow run, from the server's database."""
    with sqlite3.connect(f"file:{home}/prefect.db?mode=ro", uri=True) as database:
        query = "select start_time, end_time from flow_run order by created desc limit 1"
        begin, end = database.execute(query).fetchone()
    database.close()
    return _epoch(begin), _epoch(end)


def _epoch(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def shard_intervals(store: ArtifactStore, refs: Sequence[ArtifactRef]) -> dict[str, list[Interval]]:
    """Return when shards of stages with a model ran, their model part, and all other shards."""
    found: dict[str, list[Interval]] = {"with": [], "model": [], "without": []}
    for ref in refs:
        manifest = store.manifest(ref)
        for shard in manifest.shards:
            begin = _epoch(shard["started_at"])
            end = begin + shard["seconds"]
            model = shard["model_seconds"]
            found["with" if model else "without"].append((begin, end))
            found["model"].append((end - model, end))  # what a stage reads, it reads first
    return found


def breakdown(run: Run, root: Path) -> dict[str, float]:
    """Return the seconds of the flow run in which no process computed with the model, by kind."""
    found = shard_intervals(ArtifactStore(root), run.refs)
    found = {kind: within(each, run.flow) for kind, each in found.items()}
    shards = found["with"] + found["without"]
    model, begin, end = length(found["model"]), min(shards)[0], max(end for _, end in shards)
    around = length(found["model"] + found["with"]) - model
    without = length(shards) - model - around
    return {
        "model": model,
        "outside": run.flow[1] - run.flow[0] - model,
        "start_to_first_shard": begin - run.flow[0],
        "shards_without_model": without,
        "load_and_read": around,
        "between_shards": end - begin - length(shards),
        "last_shard_to_end": run.flow[1] - end,
    }


def bench_run(folder: Path, limit: int | None, settings: Sequence[str]) -> float:
    """Print the embedded run and the same run again, all hits; return the seconds outside."""
    home, root = folder / "home", folder / "store"
    fresh = command(home, root, limit, settings)
    seconds = fresh.flow[1] - fresh.flow[0]
    parts = breakdown(fresh, root)
    print_figures("embedded run", flow_seconds=seconds, command_seconds=_width(fresh.command),
                  **{f"{kind}_seconds": value for kind, value in parts.items()})  # fmt: skip
    print_ratio("pipeline_outside_share", parts["outside"] / seconds)
    print_ratio("pipeline_outside_seconds", parts["outside"])
    again = command(home, root, limit, settings)
    print_figures("cached run", flow_seconds=_width(again.flow),
                  command_seconds=_width(again.command))  # fmt: skip
    print_ratio("pipeline_cached_flow_share", _width(again.flow) / seconds)
    return parts["outside"]


def _width(interval: Interval) -> float:
    return interval[1] - interval[0]


def bench_inline(folder: Path, recipe: Recipe, outside: float | None) -> None:
    """Print the same stages in this process, one thread, by what they spend outside of the model.

    Training is cut to a few steps, which changes nothing outside of it. What is done around the
    rows is given in CPU seconds of its own thread.
    """
    root = folder / "inline"
    kinds: Counter[str] = Counter()
    cpu: Counter[str] = Counter()
    with taken() as fresh, _kinds(kinds), _shards(cpu):
        made = run_inline(recipe, root)
    store = ArtifactStore(root)
    shards = [shard for each in made.values() for shard in store.manifest(each.ref).shards]
    model = sum(shard["model_seconds"] for shard in shards)
    own = sum(shard["seconds"] for shard in shards if not shard["model_seconds"])
    around = sum(s["seconds"] - s["model_seconds"] for s in shards if s["model_seconds"])
    print_figures("inline", wall_seconds=fresh.wall, model_seconds=model,
                  outside_seconds=fresh.wall - model, outside_cpu_seconds=fresh.cpu - cpu["model"],
                  shards_without_model_seconds=own,
                  load_and_read_seconds=around,
                  **{f"{kind}_cpu_seconds": value for kind, value in kinds.items()})  # fmt: skip
    with taken() as again:
        run_inline(recipe, root)
    print_figures("inline cached", wall_seconds=again.wall, cpu_seconds=again.cpu)
    if outside is not None:
        print_ratio("pipeline_outside_flow_over_inline", outside / (fresh.wall - model))


@contextmanager
def _kinds(kinds: Counter[str]) -> Iterator[None]:
    """Inside, time what the stages have done around their rows."""
    places: list[tuple[Any, str, str]] = [
        (Stage, "identity", "identity"),
        (ArtifactStore, "write_shard", "write"),
        (ArtifactStore, "commit", "commit"),
        (tasks.catalogue, "rebuild_catalog", "catalogue"),
    ]
    kept = [getattr(place, name) for place, name, _ in places]
    for (place, name, kind), function in zip(places, kept, strict=True):
        setattr(place, name, _timed(kinds, kind, function))
    try:
        yield
    finally:
        for (place, name, _), function in zip(places, kept, strict=True):
            setattr(place, name, function)


@contextmanager
def _shards(cpu: Counter[str]) -> Iterator[None]:
    """Inside, count the CPU seconds of the model: a shard's, by the share that was the model's."""
    kept = tasks.inline.compute

    def compute(stage: Stage, job: Job, shard: int) -> dict[str, Any]:
        with taken() as seconds:
            facts = kept(stage, job, shard)
        cpu["model"] += seconds.cpu * facts["model_seconds"] / seconds.wall
        return facts

    tasks.inline.compute = compute
    try:
        yield
    finally:
        tasks.inline.compute = kept


def _timed(kinds: Counter[str], kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Any, **named: Any) -> Any:
        started = time.thread_time()
        try:
            return function(*arguments, **named)
        finally:
            kinds[kind] += time.thread_time() - started

    return run
