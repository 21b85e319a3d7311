"""The undisturbed run that all others must equal, and stores that stand just before a stage."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults.events import read_events
from benchmarks.faults.flows import Flow, start, warm_up
from mbpo_core.config import Recipe
from mbpo_core.recipes import configured
from storage.files import atomic_write_text
from storage.identity import digest
from storage.publish import read_intact
from storage.store import ArtifactStore
from tasks.registry import ORDER

SETTINGS: dict[str, Any] = {
    "ingest.source.scenes": 4,
    "ingest.shard_rows": 10,
    "score.shard_rows": 12,
    "select.k": 8,
    "mine.steps": 2,
    "mine.shard_rows": 3,
    "respond.shard_rows": 3,
    "respond.max_new_tokens": 10,
    "pair.max_online": 6,
    "train.max_steps": 4,
    "train.groups_per_step": 2,
    "train.micro_batch_groups": 2,
    "train.objective.max_new_tokens": 6,
    "train.objective.generations": 2,
    "train.stream_norm_every": 0,
    "train.probe_every": 2,
    "train.probe_groups": 2,
    "train.save_every": 1,
    "evaluate.limit": 4,
    "answer.shard_rows": 6,
    "evaluate.shard_rows": 8,
    "answer.max_new_tokens": 6,
}
"""The embedded recipe `mbpo`, so small that a stage takes about a second."""


class Broken(Exception):
    """A promise was not kept."""


def recipe(**changes: Any) -> Recipe:
    """Return the recipe of all trials; `changes` use `__` for dots."""
    return configured("mbpo", SETTINGS | {k.replace("__", "."): v for k, v in changes.items()})


@dataclass(frozen=True)
class World:
    """A folder with the reference run and room for trials."""

    folder: Path
    contents: dict[str, str]
    """Content hash of every stage, undisturbed."""
    names: dict[str, str]
    """Folder of every stage's artifact."""
    spans: dict[str, dict[str, Any]]
    """Seconds of every stage: of the whole `flow`, and of its `work` in the worker."""

    def basis(self, stage: str) -> str:
        """Return what a trial in a stage holds for: its key, and the contents before it."""
        before = [self.contents[name] for name in ORDER[: ORDER.index(stage)]]
        return digest([self.names[stage], before])[:12]

    @property
    def store(self) -> ArtifactStore:
        """Return the store of the undisturbed run."""
        return ArtifactStore(self.folder / "reference")

    def box(self, name: str) -> Path:
        """Return an empty folder for a trial."""
        box = self.folder / "boxes" / name
        shutil.rmtree(box, ignore_errors=True)
        box.mkdir(parents=True)
        return box

    def before(self, stage: str, root: Path) -> Path:
        """Make a store with all that stands before a stage; links, so change nothing in place."""
        return self.link(root, ORDER[: ORDER.index(stage)])

    def link(self, root: Path, stages: tuple[str, ...] = ORDER) -> Path:
        """Make a store with the artifacts of some stages as hard links."""
        root.mkdir(parents=True, exist_ok=True)
        same_disk = root.stat().st_dev == self.folder.stat().st_dev
        for name in stages:
            source = self.folder / "reference" / "artifacts" / name / self.names[name]
            target = root / "artifacts" / name / self.names[name]
            shutil.copytree(source, target, copy_function=os.link if same_disk else shutil.copyfile)
        return root

    def check(self, root: Path, stages: tuple[str, ...]) -> None:
        """Raise Broken unless the newest versions of stages are the reference's, to the byte."""
        for name in stages:
            key = self.names[name].partition(".")[0]
            ref = ArtifactStore(root).find(name, key, verify=True)
            if ref is None:
                raise Broken(f"{name} is not in the store after the restart")
            if ref.content != self.contents[name]:
                raise Broken(f"{name} has other bytes than undisturbed: {ref.content[:12]}")


def check_visible(root: Path) -> None:
    """Raise Broken if anything half-written can be seen."""
    for folder in (root / "artifacts").glob("*/*"):
        if read_intact(folder, verify=True) is None:
            raise Broken(f"{folder.relative_to(root)} is visible and not whole")


def open_world(folder: Path) -> World:
    """Return the world of a folder; make the undisturbed run and time every stage if need be."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    warm_up(recipe())
    made = _made(folder / "made", folder / "reference", ())
    names = {name: made[name]["path"] for name in ORDER}
    contents = {name: made[name]["content"] for name in ORDER}
    world = World(folder, contents, names, {})
    return World(folder, contents, names, _spans(world))


def _made(box: Path, root: Path, stages: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    shutil.rmtree(box, ignore_errors=True)
    _succeed(start(box, root, recipe(), stages))
    return {e["stage"]: e for e in read_events(box / "events") if e["what"] == "made"}


def _succeed(flow: Flow) -> None:
    code = flow.wait()
    flow.destroy()
    if code:
        raise Broken(f"an undisturbed run ended with {code}:\n{flow.log[-3000:]}")


def _spans(world: World) -> dict[str, dict[str, Any]]:
    """Run each stage alone, undisturbed, on a store that stands before it."""
    noted = world.folder / "spans.json"
    known = json.loads(noted.read_text()) if noted.exists() else {}
    for name in ORDER:
        if known.get(name, {}).get("basis") != world.basis(name):
            known[name] = {"basis": world.basis(name), **_span(world, name)}
            atomic_write_text(noted, json.dumps(known, indent=1))
    return known


def _span(world: World, stage: str) -> dict[str, float]:
    box = world.box(f"alone-{stage}")
    made = _made(box, world.before(stage, world.box(f"store-{stage}")), (stage,))
    if made[stage]["content"] != world.contents[stage]:
        raise Broken(f"{stage} alone has other bytes than in the whole run")
    events = read_events(box / "events")
    first, last = ([e["at"] for e in events if e["what"] == w] for w in ("begin", "end"))
    shutil.rmtree(box.with_name(f"store-{stage}"))
    return {
        "flow": max(e["at"] for e in events) - events[0]["at"],
        "work": max(last) - min(first),
        "shards": len(last),
    }
