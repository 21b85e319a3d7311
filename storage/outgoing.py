"""What leaves the store: a folder that appears whole or not at all, and copies that are checked."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.disk import naming_the_disk
from storage.errors import DamagedArtifact
from storage.files import fsync_dir, fsync_tree, remove_tree, temporary_name
from storage.reading import HOW_TO_MEND

MARK = "mbpo_export.json"
"""Every folder that was exported holds this file; only such a folder is ever removed."""
_BLOCK = 4 * 2**20
_NOTHING_KEPT = "nothing was written there; make room and export again"

Advance = Callable[[int], None]
"""Hears of so many bytes that were written."""


@contextmanager
def new_folder(target: Path, *, root: Path, force: bool = False) -> Iterator[Path]:
    """Build a folder beside `target` and give it that name when the block ends well.

    Inside the block the folder has another, hidden name; after an error it is gone. With `force` a
    folder that is there is replaced: one with `MARK` is removed, any other is kept beside it under
    the name that `kept_name` tells.

    Raises:
        ValueError: `target` is no empty folder (and not `force`), is a file, holds the store at
            `root` or lies in it, or is the folder that this process works in.
        DiskError: the disk is full or cannot be written.
    """
    target = Path(os.path.abspath(target))
    _check(target, Path(os.path.abspath(root)), force)
    with naming_the_disk(target.parent, then=_NOTHING_KEPT):
        target.parent.mkdir(parents=True, exist_ok=True)
        built = target.parent / temporary_name(f"{target.name}.export")
        built.mkdir()
        try:
            yield built
            fsync_tree(built)
            _replace(built, target)
        finally:
            shutil.rmtree(built, ignore_errors=True)
        fsync_dir(target.parent)


def copy_checked(source: Path, target: Path, sha256: str, advance: Advance) -> None:
    """Copy a file of the store; raises DamagedArtifact where its bytes are not those written."""
    found = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        reading = source.open("rb")
    except FileNotFoundError as error:
        raise DamagedArtifact(f"{source} is gone; {HOW_TO_MEND}") from error
    with reading, target.open("wb") as writing:
        while block := reading.read(_BLOCK):
            found.update(block)
            writing.write(block)
            advance(len(block))
    if found.hexdigest() != sha256:
        raise DamagedArtifact(f"{source} is damaged (its sha256 is another); {HOW_TO_MEND}")


def kept_name(target: Path) -> Path:
    """Return the first free name beside `target` for what it replaces: `NAME.1`, `NAME.2`, ..."""
    number = 1
    while (kept := target.with_name(f"{target.name}.{number}")).exists():
        number += 1
    return kept


def _check(target: Path, root: Path, force: bool) -> None:
    if target == root or target in root.parents or root in target.parents:
        raise ValueError(f"{target} and the store {root} would mix; name a folder outside of it")
    if target == Path.cwd():
        raise ValueError(f"{target} is the current folder; name a new one, as {target / 'export'}")
    if target.is_file():
        raise ValueError(f"{target} is a file; name a folder that is not there yet")
    if not force and target.is_dir() and any(target.iterdir()):
        raise ValueError(f"{target} is not empty; name another folder, or --force to replace it")


def _replace(built: Path, target: Path) -> None:
    """Move `built` to `target`; what was there disappears in one step before."""
    if target.is_dir() and any(target.iterdir()):
        if (target / MARK).is_file():
            remove_tree(target)
        else:
            os.rename(target, kept_name(target))
    os.rename(built, target)
