"""A device that is too small for the planned packs: halved, tried again, and the rows agree."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.faults.events import Events
from benchmarks.faults.flows import start
from benchmarks.faults.trials import Outcome, Trial
from benchmarks.faults.world import Broken, World, check_visible, recipe
from mbpo_core.models.qwen_vl import QwenVL
from storage.refs import ArtifactRef
from storage.store import ArtifactStore

FITS = {"score": 2, "mine": 2, "respond": 2, "answer": 2}
"""Rows of one forward pass or draw, by stage; their packs have more."""
TOLERANCE = 2e-5
"""Nats, in float32 on a CPU: another batch shape rounds differently."""
PIXELS = 0.002
"""Share of the values of an attacked picture that may differ, by one step of the attack: the sign
of a gradient near zero depends on rounding."""


def trials(instants: int) -> list[Trial]:
    """Return one for each stage that runs packs."""
    return [Trial("memory", "a pack does not fit", stage) for stage in FITS]


def perform(trial: Trial, world: World, box: Path) -> Outcome:
    """Run a stage on the small device and compare its rows with the undisturbed ones."""
    root = world.before(trial.stage, box / "store")
    flow = start(box / "run", root, recipe(), (trial.stage,), catalogue=False,
                 arm=lambda events: shrink(events, FITS[trial.stage]))  # fmt: skip
    code = flow.wait()
    flow.destroy()
    if code:
        raise Broken(f"ended with {code}:\n{flow.log[-2000:]}")
    check_visible(root)
    store = ArtifactStore(root)
    ((ref, manifest),) = store.refs(trial.stage)
    split = sum(shard["packs_split"] for shard in manifest.shards)
    if not split or not any(shard["memory_ceiling"] for shard in manifest.shards):
        raise Broken("no pack was split: the fault did not happen")
    tries = sum(event["what"] == "too large" for event in flow.events())
    largest = _compare(world, store, ref, trial.stage)
    return Outcome(0, {"packs_split": split, "tries": tries, "differs_at_most": largest})


def shrink(events: Events, fits: int) -> None:
    """Let this fork's model run out of memory beyond so many rows."""
    for name in ("token_logps", "sample"):
        setattr(QwenVL, name, _limited(getattr(QwenVL, name), events, fits))


def _limited(original: Any, events: Events, fits: int) -> Any:
    def call(self: QwenVL, prompts: Any, *rest: Any, **named: Any) -> Any:
        if len(prompts) > fits:
            events.tell("too large", rows=len(prompts))
            raise torch.OutOfMemoryError(f"{len(prompts)} rows")
        return original(self, prompts, *rest, **named)

    return call


def _compare(world: World, store: ArtifactStore, ref: ArtifactRef, stage: str) -> float:
    """Return the largest difference of a number; raise Broken where rows do not agree."""
    known, _ = next(each for each in world.store.refs(stage)
                    if each[0].directory == world.names[stage])  # fmt: skip
    largest = 0.0
    for table in store.manifest(ref).tables:
        mine, theirs = (s.table(r, table).to_pylist()
                        for s, r in ((store, ref), (world.store, known)))  # fmt: skip
        if len(mine) != len(theirs):
            raise Broken(f"{table} has {len(mine)} rows, undisturbed {len(theirs)}")
        for row, other in zip(mine, theirs, strict=True):
            for name in row:
                largest = max(largest, _difference(f"{table}.{name}", row[name], other[name]))
    return largest


def _difference(where: str, one: Any, other: Any) -> float:
    if isinstance(one, dict) and isinstance(other, dict) and one.get("bytes"):
        pixels = [np.asarray(Image.open(io.BytesIO(each["bytes"]))) for each in (one, other)]
        if pixels[0].shape != pixels[1].shape or (pixels[0] != pixels[1]).mean() > PIXELS:
            raise Broken(f"{where} is another picture")
        return 0.0
    if where.endswith("negative_id"):
        return 0.0  # the hash of the picture
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max((_difference(where, *pair) for pair in zip(one, other, strict=True)), default=0)
    if isinstance(one, float) and isinstance(other, float) and abs(one - other) <= TOLERANCE:
        return abs(one - other)
    if one != other:
        raise Broken(f"{where} is {one!r}, undisturbed {other!r}")
    return 0.0
