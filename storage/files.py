"""Small file helpers that survive a crash: fsync, atomic replace, hashing, links."""

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_GONE = "gone"
# Filesystems that cannot hard-link say so with one of these; the bytes are then copied.
_NO_LINKS = {errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}


def fsync_file(path: Path) -> None:
    """Force the bytes of `path` to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_dir(path: Path) -> None:
    """Force the entries of the directory `path` (new names, renames) to the disk."""
    fsync_file(path)


def fsync_tree(root: Path) -> None:
    """Force every file and directory under `root`, and `root` itself, to the disk."""
    for folder, _, names in os.walk(root, topdown=False):
        for name in names:
            fsync_file(Path(folder) / name)
        fsync_dir(Path(folder))


def temporary_name(prefix: str) -> str:
    """Return a name that no other process or thread will choose."""
    return f".{prefix}-{os.getpid()}-{uuid.uuid4().hex[:12]}"


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream; what was written replaces `path` at the end, unless an error ends it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / temporary_name("write")
    try:
        with temporary.open("wb") as stream:
            yield stream
        fsync_file(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_dir(path.parent)


def atomic_write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` so that a reader sees the old or the new text, never a part."""
    with replacing(path) as stream:
        stream.write(text.encode("utf-8"))


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes as 64 hex characters."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def link_or_copy(source: Path, target: Path) -> None:
    """Give `source` a second name; copy it where the filesystem has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)


def remove_tree(path: Path) -> None:
    """Remove a directory tree if it is there; its name disappears first, in one step.

    A kill in between leaves a folder `.gone-...` beside it, which `sweep_gone` removes.
    """
    doomed = path.parent / temporary_name(_GONE)
    try:
        os.rename(path, doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed, ignore_errors=True)  # another process may sweep it meanwhile


def sweep_gone(folder: Path) -> None:
    """Remove what killed processes had begun to remove in a folder."""
    for path in folder.glob(f".{_GONE}-*"):
        shutil.rmtree(path, ignore_errors=True)
