"""Examine a store: every byte against its hash, every note against what it names.

Finds what is damaged and says in words what is wrong with it; `quarantine` puts it aside, so that
it is a miss and can be computed again. Nothing is ever deleted here.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from storage.errors import DamagedArtifact, LockBusy
from storage.files import fsync_dir, sha256_file
from storage.identity import KEY_LENGTH, digest
from storage.manifest import MANIFEST_NAME, Manifest, read_manifest
from storage.publish import COMMITTED_AT, committed_at
from storage.refs import ArtifactRef
from storage.runs import read_run, read_runs
from storage.staging import FILES, Staging
from storage.store import ArtifactStore

QUARANTINE = "quarantine"
Progress = Callable[[Path, int], None]
"""Called with each file that was hashed, and its bytes."""


@dataclass(frozen=True)
class Damage:
    """One thing in a store that is not as it was written."""

    kind: str
    """`artifact`, `staged shard` or `run record`."""
    path: Path
    """Folder or file; it is gone where an artifact is missing as a whole."""
    problems: tuple[str, ...]
    stage: str | None = None
    key: str | None = None
    """Of artifacts and staged shards."""


def examine(store: ArtifactStore, progress: Progress = lambda path, size: None) -> Iterator[Damage]:
    """Yield all damage: committed artifacts, staged shards, run records.

    Reads every byte of the store. What a running builder holds is left alone.
    """
    for directory in _folders(store.root / "artifacts"):
        if problems := tuple(_artifact_problems(directory, progress)):
            stage, key = directory.parent.name, directory.name.partition(".")[0]
            yield Damage("artifact", directory, problems, stage, key)
    yield from _lost(store)
    for folder in _folders(store.root / "staging"):
        yield from _staged(store, folder, progress)
    for path in sorted((store.root / "runs").glob("*.json")):
        try:
            read_run(store.root, path.stem)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            yield Damage("run record", path, (f"cannot be read: {error}",))


def quarantine(store: ArtifactStore, damage: Damage) -> Path | None:
    """Move what is damaged to `root/quarantine` and return where it lies; None if it is gone.

    Takes the key's lock: raises LockBusy where a run builds it at this moment.
    """
    if not damage.path.exists():
        return None
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    inside = damage.path.relative_to(store.root)
    target = store.root / QUARANTINE / inside.with_name(f"{inside.name}-{now}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if damage.stage and damage.key:
            stack.enter_context(store.lock(damage.stage, damage.key, wait=False))
        os.rename(damage.path, target)
        fsync_dir(damage.path.parent)
    return target


def _folders(base: Path) -> list[Path]:
    """Return the folders two levels down: one a key or version, by stage."""
    return sorted(path for path in base.glob("*/*") if path.is_dir())


def _artifact_problems(directory: Path, progress: Progress) -> Iterator[str]:
    try:
        manifest = read_manifest(directory)
    except DamagedArtifact as error:
        yield f"{MANIFEST_NAME}: {error.__cause__}"
        return
    if manifest.ref.directory != directory.name or manifest.ref.stage != directory.parent.name:
        yield f"{MANIFEST_NAME}: it is the one of {manifest.ref.stage}/{manifest.ref.directory}"
    if digest(manifest.identity)[:KEY_LENGTH] != manifest.ref.key:
        yield f"{MANIFEST_NAME}: its identity is not that of its key"
    if not committed_at(directory):
        yield f"{COMMITTED_AT}: missing or unreadable"
    yield from _file_problems(directory, manifest, progress)


def _file_problems(directory: Path, manifest: Manifest, progress: Progress) -> Iterator[str]:
    expected = {part.name: part for part in manifest.parts}
    expected |= {f"{FILES}/{file.path}": file for file in manifest.files}
    for name, info in expected.items():
        path = directory / name
        if not path.is_file():
            yield f"{name}: missing"
        elif path.stat().st_size != info.bytes:
            yield f"{name}: {path.stat().st_size} bytes, written were {info.bytes}"
        elif sha256_file(path) != info.sha256:
            yield f"{name}: bytes changed (another sha256)"
        else:
            progress(path, info.bytes)
    known = {*expected, MANIFEST_NAME, COMMITTED_AT}
    found = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()}
    for name in sorted(found - known):
        yield f"{name}: no file of this artifact"


def _lost(store: ArtifactStore) -> Iterator[Damage]:
    """Yield what the latest run of each recipe used and what is not there at all."""
    latest = {run.recipe: run for run in read_runs(store.root)}
    gone: dict[Path, ArtifactRef] = {}
    for run in latest.values():
        for ref in run.stages.values():
            path = store.root / "artifacts" / ref.stage / ref.directory
            if not path.is_dir():
                gone[path] = ref
    for path, ref in gone.items():
        yield Damage("artifact", path, ("the folder is gone",), ref.stage, ref.key)


def _staged(store: ArtifactStore, folder: Path, progress: Progress) -> list[Damage]:
    stage, key = folder.parent.name, folder.name
    staging, found = Staging(folder), []
    try:
        with store.lock(stage, key, wait=False):
            for number in staging.numbers():
                if problems := tuple(_shard_problems(staging, number, progress)):
                    path = staging.shard_path(number)
                    found.append(Damage("staged shard", path, problems, stage, key))
    except (LockBusy, ValueError):  # in work; or no folder of ours
        return []
    return found


def _shard_problems(staging: Staging, number: int, progress: Progress) -> Iterator[str]:
    shard = staging.read(number)
    if shard is None:
        yield "not whole"
        return
    for name in shard.changed_files(progress):
        yield f"{name}: bytes changed (another sha256)"
