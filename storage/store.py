"""`ArtifactStore`: versioned, immutable artifacts in plain directories.

    root/artifacts/<stage>/<key>.<content>/    manifest.json, <table>-00000.parquet, files/
    root/staging/<stage>/<key>/                shard-00000/ ..., work/
    root/locks/<stage>/<key>.lock

The Parquet parts and the manifests are the truth; everything else can be rebuilt from them.
"""

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Unpack

import pyarrow as pa

from storage.checks import Coverage
from storage.errors import (
    AmbiguousArtifact,
    DamagedArtifact,
    IncompleteArtifact,
    LockBusy,
    UnknownArtifact,
)
from storage.files import fsync_tree, sweep_gone, temporary_name
from storage.identity import Identity
from storage.locks import file_lock
from storage.manifest import Facts, Manifest, content_hash, read_manifest, write_manifest
from storage.naming import find_artifact
from storage.publish import (
    Assembled,
    assemble,
    committed_at,
    place,
    planned_shards,
    read_intact,
    stamp,
)
from storage.reading import Part, check_file
from storage.refs import ArtifactRef, check_key, check_name
from storage.staging import FILES, WORK, Shard, Staging
from storage.tables import TableSpec

__all__ = [
    "AmbiguousArtifact",
    "ArtifactStore",
    "Coverage",
    "DamagedArtifact",
    "IncompleteArtifact",
    "LockBusy",
    "UnknownArtifact",
]

logger = logging.getLogger(__name__)


class ArtifactStore:
    """All artifacts below one root; any number of processes may share it."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()
        self._held: set[tuple[str, str]] = set()

    def __reduce__(self) -> tuple[type["ArtifactStore"], tuple[Path]]:
        """Travel to another process without the locks of this one."""
        return ArtifactStore, (self.root,)

    # Reading

    def find(self, stage: str, key: str, verify: bool = False) -> ArtifactRef | None:
        """Return the newest committed content for a key, or None.

        A version counts if all its files are there with the right size; with `verify` their
        sha256 must be right too.
        """
        for directory in reversed(self._versions(stage, key)):
            manifest = read_intact(directory, verify)
            if manifest is not None:
                return manifest.ref
            logger.warning("%s is damaged and does not count", directory)
        return None

    def manifest(self, ref: ArtifactRef) -> Manifest:
        """Return the manifest of a committed artifact."""
        return read_manifest(self.path(ref))

    def path(self, ref: ArtifactRef) -> Path:
        """Return the artifact's directory; raise UnknownArtifact if it is not there."""
        directory = self._stage_path(ref.stage) / ref.directory
        if not self.is_there(ref):
            raise UnknownArtifact(
                f"{ref.short} with content {ref.content[:12]} is not in {self.root}"
            )
        return directory

    def is_there(self, ref: ArtifactRef) -> bool:
        """Say whether the artifact's directory is there: it may be collected while it is read."""
        return (self._stage_path(ref.stage) / ref.directory).is_dir()

    def files(self, ref: ArtifactRef) -> Path:
        """Return the directory of the artifact's files that are not tables.

        Raises DamagedArtifact where one is not what was written; each is hashed once a process.
        """
        folder = self.path(ref) / FILES
        for file in self.manifest(ref).files:
            check_file(folder / file.path, file.sha256)
        return folder

    def parts(self, ref: ArtifactRef, table: str) -> list[Part]:
        """Return the Parquet files of one table in order, for readers that check what they read."""
        directory = self.path(ref)
        listed = read_manifest(directory).table_parts(table)
        return [Part(directory / part.name, part.footer) for part in listed]

    def table(self, ref: ArtifactRef, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read all parts of one table, in order; raises DamagedArtifact."""
        # One file at a time: reading a list of paths as a data set would take `name=value`
        # folders above the root for columns.
        return pa.concat_tables(part.read(columns) for part in self.parts(ref, table))

    def refs(self, stage: str | None = None) -> list[tuple[ArtifactRef, Manifest]]:
        """Return every committed artifact with its manifest, oldest commit first."""
        base = self.root / "artifacts"
        stages = [check_name("stage", stage)] if stage else sorted(p.name for p in _subdirs(base))
        found = []
        for directory in (path for name in stages for path in _subdirs(base / name)):
            try:
                manifest = read_manifest(directory)
            except DamagedArtifact as error:
                logger.warning("skipped: %s", error)
                continue
            found.append((committed_at(directory) or manifest.created_at, directory.name, manifest))
        return [(m.ref, m) for _, _, m in sorted(found, key=lambda entry: entry[:2])]

    def resolve(self, text: str) -> ArtifactRef:
        """Find what a person means by a word, as `mine`, `mine/1a2b` or a tag: `storage.naming`."""
        return find_artifact(self.root, self.refs(), text)

    # Writing

    def lock(self, stage: str, key: str, wait: bool = True) -> AbstractContextManager[None]:
        """Hold the key for one builder; freed by the kernel when the holder dies.

        With `wait=False` raises LockBusy if another holds it. What killed builders left half
        done is cleaned away first; their whole shards and `work/` stay.
        """
        return self._locked(stage, key, wait)

    @contextmanager
    def holding(self, refs: Iterable[ArtifactRef]) -> Iterator[None]:
        """Hold the keys of artifacts that are read where no run's record says so: see `gc`."""
        with ExitStack() as stack:
            # In one order for all, and each once: nobody waits for himself or in a circle.
            for stage, key in sorted({(ref.stage, ref.key) for ref in refs}):
                stack.enter_context(self.lock(stage, key))
            yield

    @contextmanager
    def _locked(self, stage: str, key: str, wait: bool) -> Iterator[None]:
        path = self.root / "locks" / check_name("stage", stage) / f"{check_key(key)}.lock"
        with file_lock(path, wait):
            self._recover(stage, key)
            self._held.add((stage, key))
            try:
                yield
            finally:
                self._held.discard((stage, key))

    def _recover(self, stage: str, key: str) -> None:
        """Finish a commit that was killed after its rename, and clear temporary names."""
        staging = self._staging(stage, key)
        published = staging.announced_commit()
        if published and read_intact(self._stage_path(stage) / published) is not None:
            staging.discard()
        staging.clean()
        sweep_gone(staging.directory.parent)

    def staging(self, stage: str, key: str) -> Path:
        """Return the staging directory, made on demand."""
        return self._staging(stage, key).create()

    def work(self, stage: str, key: str) -> Path:
        """Return the folder for state to resume from, part of staging; it is never published."""
        path = self.staging(stage, key) / WORK
        path.mkdir(exist_ok=True)
        return path

    def missing_shards(self, stage: str, key: str, shards: Sequence[int]) -> list[int]:
        """Return those of `shards` that are not in staging as whole shards."""
        return self._staging(stage, key).missing(shards)

    def staged_shards(self, stage: str, key: str) -> list[Shard]:
        """Return the whole shards that are in staging, in order."""
        staging = self._staging(stage, key)
        found = (staging.read(number) for number in staging.numbers())
        return [shard for shard in found if shard is not None]

    def write_shard(
        self,
        stage: str,
        key: str,
        shard: int,
        tables: Mapping[str, pa.Table | Path],
        files: Mapping[str, Path] | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        """Write one shard: all tables and files become visible together.

        A table may be a Parquet file that nothing changes any more, which is linked. `files` maps
        a name in the artifact to a file or folder, which is copied. `info` is what the manifest
        will say of this shard. A whole shard of that number stays as it is.
        """
        self._staging(stage, key).write(shard, tables, files or {}, info or {})

    def discard_staging(self, stage: str, key: str) -> None:
        """Forget the shards and the resumable work of a key."""
        self._staging(stage, key).discard()

    def commit(
        self,
        stage: str,
        key: str,
        shards: Sequence[int],
        *,
        tables: Sequence[TableSpec],
        identity: Identity,
        inputs: Mapping[str, ArtifactRef] | None = None,
        coverage: Sequence[Coverage] = (),
        **facts: Unpack[Facts],
    ) -> ArtifactRef:
        """Publish the planned shards as one immutable artifact and return its ref.

        `tables` are the declared tables, the main one first. Takes the key's lock unless this
        store holds it. Equal content that is there already stays, and counts as newest again.
        Raises IncompleteArtifact when a shard, a column or an id of `coverage` is missing.
        """
        if (identity.stage, identity.key) != (stage, key):
            raise ValueError(f"{stage}/{key} is not the key of its identity: {identity.key}")
        held = (stage, key) in self._held
        with nullcontext() if held else self.lock(stage, key):
            staging = self._staging(stage, key)
            built = staging.create() / temporary_name("commit")
            try:
                whole = planned_shards(staging, shards)
                assembled = assemble(built, whole, tables, coverage)
                manifest = _manifest(identity, tables, assembled, inputs or {}, facts)
                self._publish(staging, built, manifest)
            finally:
                shutil.rmtree(built, ignore_errors=True)
            staging.discard()
        return manifest.ref

    def _publish(self, staging: Staging, built: Path, manifest: Manifest) -> None:
        ref = manifest.ref
        target = self._stage_path(ref.stage) / ref.directory
        versions = self._versions(ref.stage, ref.key)
        stamp(built, versions)
        fsync_tree(built)
        write_manifest(built, manifest)
        staging.announce_commit(target)
        place(built, target, trash=staging.directory / temporary_name("gone"))
        if built.exists():
            stamp(target, versions)

    def _staging(self, stage: str, key: str) -> Staging:
        return Staging(self.root / "staging" / check_name("stage", stage) / check_key(key))

    def _stage_path(self, stage: str) -> Path:
        return self.root / "artifacts" / check_name("stage", stage)

    def _versions(self, stage: str, key: str) -> list[Path]:
        """Return the directories committed for a key, oldest commit first."""
        found = self._stage_path(stage).glob(f"{check_key(key)}.*")
        return sorted(found, key=lambda directory: (committed_at(directory), directory.name))


def _subdirs(path: Path) -> list[Path]:
    """Return the folders inside, but for those with temporary names."""
    entries = path.iterdir() if path.is_dir() else ()
    return [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]


def _manifest(
    identity: Identity,
    tables: Sequence[TableSpec],
    assembled: Assembled,
    inputs: Mapping[str, ArtifactRef],
    facts: Facts,
) -> Manifest:
    content = content_hash(assembled.parts, assembled.files)
    return Manifest(
        ref=ArtifactRef(identity.stage, identity.key, content),
        tables=tuple(spec.name for spec in tables),
        parts=assembled.parts,
        files=assembled.files,
        identity=identity.to_dict(),
        inputs=dict(inputs),
        created_at=datetime.now(UTC).isoformat(timespec="microseconds"),
        shards=assembled.shards,
        reasons=assembled.reasons,
        **{"libraries": identity.libraries, "models": identity.models, **facts},
    )
