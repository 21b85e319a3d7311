"""Bytes that change behind the store's back: cut, flipped, gone; found, put aside, made again."""

from __future__ import annotations

import random
from pathlib import Path

import tasks.pool
from benchmarks.faults.events import computed
from benchmarks.faults.flows import ForkedNursery, fork, start
from benchmarks.faults.trials import Outcome, Trial
from benchmarks.faults.world import Broken, World, check_visible, recipe
from storage.doctor import examine
from storage.store import ArtifactStore
from tasks.pool import WorkerPool
from tasks.registry import ORDER
from tasks.repair import repair
from tasks.runtime import Runtime

HOW = ("cut", "flipped", "gone")
WHERE = ("part", "manifest", "staged shard")


def trials(instants: int) -> list[Trial]:
    """Return every kind of damage to every kind of file of every stage."""
    several = max(1, instants // 15)
    return [
        Trial("damage", f"{where} {how}", stage, number)
        for number in range(several) for where in WHERE for how in HOW for stage in ORDER
    ]  # fmt: skip


def perform(trial: Trial, world: World, box: Path) -> Outcome:
    """Damage one file, see that the doctor names it, mend, compare."""
    where, how = trial.case.rsplit(" ", 1)
    if where == "staged shard":
        return _staged(trial, how, world, box)
    # A run of its own, so that the store has a record that says how its artifacts were made.
    root = world.before(trial.stage, box / "store")
    _run(box, root, trial.stage)
    folder = root / "artifacts" / trial.stage / world.names[trial.stage]
    pattern = "*.parquet" if where == "part" else "manifest.json"
    path = spoil(sorted(folder.glob(pattern)), how, trial.random())
    found = list(examine(ArtifactStore(root)))
    if [damage.path for damage in found] != [folder] or path.name not in str(found[0].problems):
        raise Broken(f"the doctor does not name {path.name}, it says {found}")
    flow = fork(box / "run", lambda events: _repair(root))
    if flow.wait() or list(examine(ArtifactStore(root))):
        raise Broken(f"the repair failed:\n{flow.log[-2000:]}")
    world.check(root, ORDER[: ORDER.index(trial.stage) + 1])
    return Outcome()


def _run(box: Path, root: Path, stage: str, **options: int) -> int:
    flow = start(box / "run", root, recipe(), (stage,), catalogue=False, **options)
    code = flow.wait()
    flow.destroy()
    return code


def _repair(root: Path) -> None:
    tasks.pool.Nursery = ForkedNursery  # type: ignore[misc]
    runtime = Runtime(root=root, devices=("cpu",), workers=1)
    with WorkerPool(runtime) as pool:
        results = repair(list(examine(ArtifactStore(root))), runtime, pool)
    if not all(result.mended for result in results):
        raise Broken("; ".join(result.said for result in results))


def _staged(trial: Trial, how: str, world: World, box: Path) -> Outcome:
    """Stop a stage before its commit, damage a stored shard, and run it again."""
    root = world.before(trial.stage, box / "store")
    last = int(world.spans[trial.stage]["shards"]) - 1
    flow = start(
        box / "run", root, recipe(), (trial.stage,), catalogue=False, arm=lambda e: _no_commit()
    )
    flow.wait()
    flow.destroy()
    # The record of its files and sizes is part of the shard, and damaged too.
    files = sorted(p for p in (root / "staging" / trial.stage).rglob("shard-*/*") if p.is_file())
    if not files:
        raise Broken(f"no shard is staged:\n{flow.log[-2000:]}")
    path = spoil(files, how, trial.random())
    named = [damage.path for damage in examine(ArtifactStore(root))]
    if path.parent not in named:
        raise Broken(f"the doctor does not name {path.parent.name}/{path.name}: {named}")
    code = _run(box, root, trial.stage)
    code = code and _run(box, root, trial.stage)  # found at the commit: the next run goes on
    if code:
        raise Broken(f"no run mends it:\n{flow.log[-2000:]}")
    check_visible(root)
    world.check(root, ORDER[: ORDER.index(trial.stage) + 1])
    again = len(computed(flow.events())) - (last + 1)
    if again != 1:
        raise Broken(f"{again} shards were computed again for one that was damaged")
    return Outcome(again)


def _no_commit() -> None:
    def refuse(*given: object, **named: object) -> None:
        raise Broken("stopped before the commit")

    ArtifactStore.commit = refuse  # type: ignore[method-assign, assignment]


def spoil(files: list[Path], how: str, rng: random.Random) -> Path:
    """Damage one of the files and return it; others that share its bytes by a link are spared."""
    path = rng.choice(files)
    data = bytearray(path.read_bytes())
    path.unlink()
    if how == "cut":
        path.write_bytes(data[: rng.randrange(len(data))])
    elif how == "flipped":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
    return path
