"""One builder at a time: `flock`, which the kernel frees when the holder dies."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import LockBusy

logger = logging.getLogger(__name__)


@contextmanager
def file_lock(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock named `path`; with `wait=False` raise LockBusy if it is taken.

    The file stays behind: removing it would let two holders lock two files of one name. It
    excludes threads of one process as well. A forked child that never runs exec shares the
    lock until the holder leaves this block.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _acquire(descriptor, path, wait)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, wait: bool) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode() or "unknown"
        if not wait:
            raise LockBusy(f"{path.stem} is being built by process {holder}") from error
    logger.info("waiting for process %s, which holds %s", holder, path.name)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
