"""Errors of the disk in words: which one, what is wrong, what to do."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import DiskError, StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_FULL_WORDS = ("no space left on device", "disk quota exceeded", "os error 28", "code: 28")
_CLOSED_WORDS = ("read-only file system",)
_KEPT = "make room and run again: what is finished is kept, and the rest goes on from there"
_NOTHING_FREE = 64 * 1024
"""Bytes; some libraries say only that writing failed, and with less than this we know why."""


def trouble_of(error: BaseException, root: Path, then: str = _KEPT) -> str | None:
    """Return in words what the disk has to do with an error; None if nothing.

    `then` says what became of the work, and what to do when the disk is full.
    """
    reasons: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in reasons:
        reasons.append(cause)
        cause = cause.__cause__ or cause.__context__
    numbers = {each.errno for each in reasons if isinstance(each, OSError)}
    said = " ".join(str(each).lower() for each in reasons)
    if numbers & _FULL or any(words in said for words in _FULL_WORDS) or _is_full(root):
        return f"the disk of {root} is full ({_free(root) / 1e6:.1f} MB free); {then}"
    if numbers & _CLOSED or any(words in said for words in _CLOSED_WORDS):
        return f"{root} cannot be written ({error}); give another folder, or the right to write"
    return None


@contextmanager
def naming_the_disk(root: Path, then: str = _KEPT) -> Iterator[None]:
    """Raise DiskError in place of whatever a full or read-only disk leads to inside the block."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        if said := trouble_of(error, root, then):
            raise DiskError(said) from error
        raise


def _is_full(root: Path) -> bool:
    return root.exists() and _free(root) < _NOTHING_FREE


def _free(root: Path) -> int:
    return shutil.disk_usage(root if root.exists() else root.parent).free
