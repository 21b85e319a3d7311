"""Garbage collection: what nobody holds any more is removed, whole artifacts at a time.

Safe beside runs. A run that takes an artifact from the store notes it in its record while it holds
the key's lock; here the records are locked while it is decided and done, and a key that somebody
holds is left alone with all that its artifact was made from. An artifact goes by one rename out of
`artifacts/`, consumers before their inputs: a kill at any moment leaves a store in which whatever
is there is whole, and so is all that it was made from.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from graphlib import TopologicalSorter
from pathlib import Path

from storage.doctor import QUARANTINE
from storage.errors import LockBusy, StoreError
from storage.files import fsync_dir, sweep_gone, temporary_name
from storage.locks import file_lock
from storage.manifest import Manifest
from storage.publish import committed_at
from storage.reach import Holds, Policy, folder_of, holds, needs
from storage.refs import ArtifactRef
from storage.runs import is_in_progress, read_runs, records_lock
from storage.store import ArtifactStore
from storage.tags import read_tags

STALE_STAGING = timedelta(days=7)
"""Shards of an interrupted run are kept so long after their last change, to go on from."""
_Versions = dict[ArtifactRef, tuple[Manifest, datetime]]


@dataclass(frozen=True)
class Going:
    """One folder that is to go."""

    kind: str
    """`artifact`, `staging`, `quarantine`, or `remains` of a removal that was killed."""
    path: Path
    bytes: int
    why: str
    ref: ArtifactRef | None = None
    """Of artifacts."""
    stage: str | None = None
    key: str | None = None
    """Of artifacts and staging: whose lock is taken."""


@dataclass(frozen=True)
class Staying:
    """One artifact, or staging of a key, that stays."""

    name: str
    bytes: int
    whys: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """What would go and what would stay."""

    go: tuple[Going, ...]
    """In the order in which it goes: artifacts before their inputs."""
    stay: tuple[Staying, ...]


@dataclass(frozen=True)
class Collected:
    """What went, and what was left alone because somebody works on it."""

    gone: tuple[Going, ...]
    left: tuple[Going, ...]


def examine_garbage(
    store: ArtifactStore, policy: Policy, *, quarantine: bool = False, now: datetime | None = None
) -> Findings:
    """Return what `collect_garbage` would do; changes nothing.

    Raises StoreError where a run record or a tag cannot be read: what it holds is not known.
    """
    now = now or datetime.now(UTC)
    versions = _versions(store)
    held = _held(store, versions, policy, now)
    doomed = [ref for ref in _consumers_first(versions) if ref not in held]
    go = [
        Going("artifact", store.path(ref), versions[ref][0].bytes, "held by nothing", ref,
              ref.stage, ref.key)
        for ref in doomed
    ]  # fmt: skip
    stay = [
        Staying(ref.short, versions[ref][0].bytes, held[ref]) for ref in versions if ref in held
    ]
    for folder in _folders(store.root / "staging"):
        stale, why = _staged(store, folder, policy, now)
        if stale:
            stage, key = folder.parent.name, folder.name
            go.append(Going("staging", folder, _size(folder), why, None, stage, key))
        else:
            name = f"staging/{folder.parent.name}/{folder.name[:8]}"
            stay.append(Staying(name, _size(folder), (why,)))
    go += _others(store.root, quarantine)
    return Findings(tuple(go), tuple(stay))


def collect_garbage(
    store: ArtifactStore,
    policy: Policy,
    *,
    quarantine: bool = False,
    tell: Callable[[Going], None] = lambda going: None,
) -> Collected:
    """Remove what nobody holds; return what went and what was left because it is in work.

    What is to go is found again here, with the records locked: an earlier look may be outdated.
    `tell` is called as the bytes of each are freed.
    """
    gone: list[Going] = []
    away: list[tuple[Going, Path]] = []
    left: list[Going] = []
    sweep_gone(store.root)
    with records_lock(store.root):
        spared: set[ArtifactRef] = set()
        places = {folder_of(ref): ref for ref in _versions(store)}
        for going in examine_garbage(store, policy, quarantine=quarantine).go:
            target = None if going.ref in spared else _put_out_of_the_way(store, going)
            if target is None:
                left.append(going)
                if going.ref:
                    spared |= {going.ref, *needs(store.manifest(going.ref), places)}
                continue
            gone.append(going)
            away.append((going, target))
    for going, target in away:
        shutil.rmtree(target, ignore_errors=True)  # another process may sweep it meanwhile
        tell(going)
    return Collected(tuple(gone), tuple(left))


def _put_out_of_the_way(store: ArtifactStore, going: Going) -> Path | None:
    """Rename a folder to a name that means nothing; None where somebody holds its key."""
    target = store.root / temporary_name("gone")
    with ExitStack() as stack:
        if going.stage and going.key:
            # Not `store.lock`, which would clean up here: what is about to go needs none of it.
            lock = store.root / "locks" / going.stage / f"{going.key}.lock"
            try:
                stack.enter_context(file_lock(lock, wait=False))
            except LockBusy:
                return None
        try:
            os.rename(going.path, target)
        except FileNotFoundError:  # another collector, or a commit that took its staging away
            return target
        fsync_dir(going.path.parent)
        fsync_dir(store.root)
    return target


def _versions(store: ArtifactStore) -> _Versions:
    found = {}
    for ref, manifest in store.refs():
        text = committed_at(store.path(ref)) or manifest.created_at
        found[ref] = (manifest, datetime.fromisoformat(text).astimezone(UTC))
    return found


def _held(store: ArtifactStore, versions: _Versions, policy: Policy, now: datetime) -> Holds:
    runs, tags = read_runs(store.root), read_tags(store.root)
    for kind, read in (("runs", len(runs)), ("tags", len(tags))):
        there = len(list((store.root / kind).glob("*.json")))
        if there != read:
            raise StoreError(
                f"{there - read} of {there} files in {store.root / kind} cannot be read, so what "
                "they hold is not known: `mbpo doctor --repair` puts damaged records aside; a "
                "damaged tag is set anew with `mbpo tag NAME REF`"
            )
    running = [run.run_id for run in runs if is_in_progress(store.root, run)]
    return holds(versions, runs, tags, running, policy, now)


def _consumers_first(versions: _Versions) -> list[ArtifactRef]:
    places = {folder_of(ref): ref for ref in versions}
    inputs = {ref: needs(manifest, places) for ref, (manifest, _) in versions.items()}
    return list(TopologicalSorter(inputs).static_order())[::-1]


def _staged(store: ArtifactStore, folder: Path, policy: Policy, now: datetime) -> tuple[bool, str]:
    """Return whether nobody will go on from a staged key, and why or why not."""
    try:
        lock = store.root / "locks" / folder.parent.name / f"{folder.name}.lock"
        if lock.exists():
            with file_lock(lock, wait=False):
                pass
    except LockBusy:
        return False, "in work"
    days = policy.older_than if policy.older_than is not None else STALE_STAGING
    age = now - _changed(folder)
    said = f"an interrupted run, last changed {age.total_seconds() / 86_400:.1f} days ago"
    return age >= days, said


def _changed(folder: Path) -> datetime:
    """Return when a folder, or anything in it, was last changed."""
    times = [folder.stat().st_mtime]
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            times.append(path.lstat().st_mtime)
    return datetime.fromtimestamp(max(times), UTC)


def _others(root: Path, quarantine: bool) -> Iterator[Going]:
    for path in sorted(root.glob(".gone-*")):
        yield Going("remains", path, _size(path), "a removal that was killed")
    if quarantine and (root / QUARANTINE).is_dir():
        yield Going("quarantine", root / QUARANTINE, _size(root / QUARANTINE), "asked for")


def _folders(base: Path) -> list[Path]:
    return sorted(path for path in base.glob("[!.]*/[!.]*") if path.is_dir())


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.lstat().st_size if path.is_file() else 0
    return total
