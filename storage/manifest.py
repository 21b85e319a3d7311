"""`Manifest`: what one committed artifact consists of and how it came to be."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, TypedDict

from storage.errors import DamagedArtifact
from storage.files import atomic_write_text
from storage.identity import digest
from storage.refs import ArtifactRef

MANIFEST_NAME = "manifest.json"
MANIFEST_SCHEMA = 1
_CHECKSUM = "checksum"


@dataclass(frozen=True)
class PartInfo:
    """One Parquet file of a table."""

    table: str
    name: str
    """File name inside the artifact's directory."""
    rows: int
    bytes: int
    sha256: str
    footer: str = ""
    """sha256 of the Parquet footer, compared at every reading; "" in older manifests."""


@dataclass(frozen=True)
class FileInfo:
    """One file that is not a table, such as model weights; `path` is relative to `files/`."""

    path: str
    bytes: int
    sha256: str


class Facts(TypedDict, total=False):
    """What the caller of a commit may say about the run; all of it is optional."""

    recipe: str
    run_id: str
    code_revision: str
    code_dirty: bool | None
    libraries: dict[str, str]
    models: dict[str, str]
    device: str
    wall_seconds: float


@dataclass(frozen=True)
class Manifest:
    """The record written last, so that an artifact without it does not exist."""

    ref: ArtifactRef
    tables: tuple[str, ...]
    """Table names; the first is the main one and the artifact's name."""
    parts: tuple[PartInfo, ...]
    files: tuple[FileInfo, ...]
    identity: dict[str, Any]
    inputs: dict[str, ArtifactRef]
    created_at: str
    """UTC, ISO 8601."""
    shards: tuple[dict[str, Any], ...] = ()
    """One record per shard: its number, its rows by table, and what its worker noted."""
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)
    """Rows by table and `reason`; rows without a reason are those that were kept."""
    recipe: str = ""
    run_id: str = ""
    code_revision: str = ""
    code_dirty: bool | None = None
    """None where the revision is not known."""
    libraries: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    device: str = ""
    wall_seconds: float = 0.0
    schema: int = MANIFEST_SCHEMA

    @property
    def artifact(self) -> str:
        """Return the artifact's name, such as `negatives`."""
        return self.tables[0]

    @property
    def rows(self) -> int:
        """Return the number of rows of the main table."""
        return sum(part.rows for part in self.parts if part.table == self.artifact)

    @property
    def bytes(self) -> int:
        """Return the size of all parts and files."""
        return sum(part.bytes for part in self.parts) + sum(file.bytes for file in self.files)

    def table_parts(self, table: str) -> list[PartInfo]:
        """Return the parts of one table in order; raise KeyError naming the tables there are."""
        if table not in self.tables:
            raise KeyError(f"{self.ref.short} has no table {table!r}; it has {list(self.tables)}")
        return [part for part in self.parts if part.table == table]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; raise ValueError for a layout of a newer version."""
        if value.get("schema") != MANIFEST_SCHEMA:
            raise ValueError(f"manifest schema {value.get('schema')!r}, expected {MANIFEST_SCHEMA}")
        return cls(
            **{
                **value,
                "ref": ArtifactRef.from_dict(value["ref"]),
                "tables": tuple(value["tables"]),
                "parts": tuple(PartInfo(**part) for part in value["parts"]),
                "files": tuple(FileInfo(**file) for file in value["files"]),
                "inputs": {k: ArtifactRef.from_dict(v) for k, v in value["inputs"].items()},
                "shards": tuple(value["shards"]),
            }
        )


def content_hash(parts: tuple[PartInfo, ...], files: tuple[FileInfo, ...]) -> str:
    """Return the hash of what an artifact contains: names and bytes, nothing about the run."""
    return digest(
        {
            "parts": [[part.table, part.name, part.sha256] for part in parts],
            "files": [[file.path, file.sha256] for file in files],
        }
    )


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write `manifest.json` into `directory`, atomically and fsynced."""
    value = manifest.to_dict()
    value[_CHECKSUM] = digest(value)
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    atomic_write_text(directory / MANIFEST_NAME, text + "\n")


def read_manifest(directory: Path) -> Manifest:
    """Read `manifest.json`; raise DamagedArtifact if it is missing, changed or not a manifest."""
    path = directory / MANIFEST_NAME
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError(f"expected an object, got {type(value).__name__}")
        checksum = value.pop(_CHECKSUM, None)  # older manifests have none
        if checksum is not None and checksum != digest(value):
            raise ValueError("its checksum is not that of its content")
        return Manifest.from_dict(value)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DamagedArtifact(f"{path}: {error}") from error
