"""Tags: names that people give to an artifact or to a whole run, in `root/tags/<name>.json`.

What is tagged, and all that it was made from, is kept by `storage.gc`.
"""

import json
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import UnknownArtifact
from storage.files import atomic_write_text, fsync_dir
from storage.refs import ArtifactRef
from storage.runs import records_lock

logger = logging.getLogger(__name__)

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Tag:
    """A name for one artifact, or for all artifacts of a run: exactly one of the two is set."""

    name: str
    ref: ArtifactRef | None = None
    run_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse a name that could not be a file or a word of the command line."""
        if not _TAG.fullmatch(self.name):
            raise ValueError(f"a tag is letters, digits, '.', '_' or '-', got {self.name!r}")
        if (self.ref is None) == (self.run_id is None):
            raise ValueError(f"tag {self.name!r} must name an artifact or a run")

    @property
    def target(self) -> str:
        """Return what people read: `mine/1a2b3c4d`, or the run's id."""
        return self.ref.short if self.ref else str(self.run_id)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"name": self.name, "ref": self.ref and self.ref.to_dict(), "run_id": self.run_id}


def write_tag(root: Path, tag: Tag) -> None:
    """Set a tag; one of that name is moved. Raises UnknownArtifact for what is not there.

    Nothing is collected between the look and the writing: `storage.gc` takes the same lock.
    """
    with records_lock(root):
        if tag.ref and not (root / "artifacts" / tag.ref.stage / tag.ref.directory).is_dir():
            raise UnknownArtifact(f"{tag.ref.short} is no longer in {root}; see `mbpo ls`")
        atomic_write_text(_path(root, tag.name), json.dumps(tag.to_dict(), indent=1) + "\n")


def delete_tag(root: Path, name: str) -> Tag:
    """Remove a tag and return what it was; raises UnknownArtifact, naming those there are."""
    with records_lock(root):
        found = {tag.name: tag for tag in read_tags(root)}
        if name not in found:
            raise UnknownArtifact(f"no tag {name!r}; {_listed(found)}")
        _path(root, name).unlink()
        fsync_dir(root / "tags")
    return found[name]


def read_tags(root: Path) -> list[Tag]:
    """Return all tags by name; a file that cannot be read is skipped with a warning."""
    tags = []
    for path in sorted((Path(root) / "tags").glob("*.json")):
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            ref = value["ref"] and ArtifactRef.from_dict(value["ref"])
            tags.append(Tag(path.stem, ref, value["run_id"]))
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger.warning("skipped tag %s: %s", path, error)
    return tags


def _path(root: Path, name: str) -> Path:
    return Path(root) / "tags" / f"{name}.json"


def _listed(names: Iterable[str]) -> str:
    return f"there are: {', '.join(names) or 'none'}"
