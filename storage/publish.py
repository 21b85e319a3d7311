"""From whole shards to one immutable directory, visible by a single rename."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from storage.checks import Coverage, check_coverage, check_schema, count_reasons
from storage.errors import DamagedArtifact, IncompleteArtifact
from storage.files import atomic_write_text, fsync_dir, link_or_copy, remove_tree, sha256_file
from storage.manifest import FileInfo, Manifest, PartInfo, read_manifest
from storage.reading import footer_sha256
from storage.staging import FILES, Shard, Staging
from storage.tables import TableSpec

COMMITTED_AT = "committed_at"


@dataclass(frozen=True)
class Assembled:
    """What the shards add up to, laid out in a directory that nobody sees yet."""

    parts: tuple[PartInfo, ...]
    files: tuple[FileInfo, ...]
    shards: tuple[dict[str, Any], ...]
    reasons: dict[str, dict[str, int]]


def planned_shards(staging: Staging, numbers: Sequence[int]) -> list[Shard]:
    """Return exactly the planned shards in order; raise IncompleteArtifact otherwise."""
    if not numbers:
        raise ValueError("an artifact has at least one shard, even if its tables are empty")
    if missing := staging.missing(numbers):
        raise IncompleteArtifact(f"{len(missing)} of {len(numbers)} shards missing: {missing[:20]}")
    if extra := sorted(set(staging.numbers()) - set(numbers)):
        raise IncompleteArtifact(f"shards in staging that were not planned: {extra[:20]}")
    found = (staging.read(number) for number in sorted(set(numbers)))
    return [shard for shard in found if shard is not None]


def assemble(
    target: Path, shards: Sequence[Shard], specs: Sequence[TableSpec], coverage: Sequence[Coverage]
) -> Assembled:
    """Link the shards' files into `target` under their final names, and check them all."""
    names = [spec.name for spec in specs]
    for shard in shards:
        if set(shard.rows) != set(names):
            raise IncompleteArtifact(
                f"shard {shard.number} has tables {sorted(shard.rows)}, declared {sorted(names)}"
            )
    parts = tuple(part for spec in specs for part in _table_parts(target, spec, shards))
    files = tuple(file for shard in shards for file in _shard_files(target, shard))
    paths = {name: [target / part.name for part in parts if part.table == name] for name in names}
    for promise in coverage:
        if promise.table not in paths:
            raise IncompleteArtifact(f"coverage names table {promise.table!r}, there are {names}")
        check_coverage(promise, paths[promise.table])
    return Assembled(
        parts=parts,
        files=tuple(sorted(files, key=lambda file: file.path)),
        shards=tuple({**shard.info, "shard": shard.number, "rows": shard.rows} for shard in shards),
        reasons={name: found for name in names if (found := count_reasons(paths[name]))},
    )


def _table_parts(target: Path, spec: TableSpec, shards: Sequence[Shard]) -> list[PartInfo]:
    """Link the parts of one table; a part is numbered like its shard.

    Parts without rows are left out (readers of Parquet stumble over them), but for the first of a
    table that has no rows at all: it carries the columns.
    """
    filled = [shard for shard in shards if shard.rows[spec.name]] or [shards[0]]
    parts = []
    for shard in filled:
        path = target / f"{spec.name}-{shard.number:05d}.parquet"
        link_or_copy(shard.table(spec.name), path)
        check_schema(path, spec)
        rows = pq.read_metadata(path).num_rows
        parts.append(
            PartInfo(
                table=spec.name,
                name=path.name,
                rows=rows,
                bytes=path.stat().st_size,
                sha256=_as_written(path, shard, shard.table(spec.name)),
                footer=footer_sha256(path),
            )
        )
    return parts


def _shard_files(target: Path, shard: Shard) -> list[FileInfo]:
    infos = []
    for name in shard.files:
        path = target / FILES / name
        if path.exists():
            raise IncompleteArtifact(f"shard {shard.number} repeats the file {name!r} of another")
        link_or_copy(shard.directory / FILES / name, path)
        sha256 = _as_written(path, shard, shard.directory / FILES / name)
        infos.append(FileInfo(name, path.stat().st_size, sha256))
    return infos


def _as_written(path: Path, shard: Shard, source: Path) -> str:
    """Return the hash of a linked file; a shard whose bytes changed since it was written goes."""
    found = sha256_file(path)
    if found != shard.sha256[source.relative_to(shard.directory).as_posix()]:
        remove_tree(shard.directory)
        raise IncompleteArtifact(
            f"{source} is damaged: it is not what shard {shard.number} wrote. That shard was "
            "removed; run the stage again, which computes it alone"
        )
    return found


def place(built: Path, target: Path, trash: Path) -> None:
    """Rename a built directory to its final name; a target that is there and whole stays."""
    if read_intact(target, verify=True) is not None:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        # Its bytes are no longer what its manifest says: it was a miss already.
        os.rename(target, trash)
    os.rename(built, target)
    fsync_dir(target.parent)
    # The stage's own directory may be as new as the artifact.
    fsync_dir(target.parent.parent)
    remove_tree(trash)


def read_intact(directory: Path, verify: bool = False) -> Manifest | None:
    """Return the manifest if all files are there with the right size (`verify`: right bytes)."""
    try:
        manifest = read_manifest(directory)
    except DamagedArtifact:
        return None
    return manifest if whole(directory, manifest, verify) else None


def whole(directory: Path, manifest: Manifest, verify: bool = False) -> bool:
    """Return whether all files of a manifest are there with the right size (`verify`: bytes)."""
    expected = [(directory / part.name, part) for part in manifest.parts]
    expected += [(directory / FILES / file.path, file) for file in manifest.files]
    for path, info in expected:
        if not path.is_file() or path.stat().st_size != info.bytes:
            return False
        if verify and sha256_file(path) != info.sha256:
            return False
    return True


def committed_at(directory: Path) -> str:
    """Return when this content was last committed; '' where that is not known."""
    try:
        text = (directory / COMMITTED_AT).read_text(encoding="utf-8").strip()
        return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="microseconds")
    except (FileNotFoundError, ValueError):  # a damaged note is as good as none
        return ""


def stamp(directory: Path, others: Sequence[Path]) -> None:
    """Make `directory` the newest among `others`, even when the clock was set back."""
    now = datetime.now(UTC)
    for text in filter(None, map(committed_at, others)):
        now = max(now, datetime.fromisoformat(text) + timedelta(microseconds=1))
    atomic_write_text(directory / COMMITTED_AT, now.isoformat(timespec="microseconds") + "\n")
