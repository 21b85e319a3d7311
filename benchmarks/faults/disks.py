"""A disk that is full at some point of a stage, and one that cannot be written at all."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults.events import computed, redone_whole
from benchmarks.faults.flows import start
from benchmarks.faults.trials import Outcome, Skipped, Trial
from benchmarks.faults.world import Broken, World, check_visible, recipe
from tasks.registry import ORDER

_LIBC = ctypes.CDLL(None, use_errno=True)
_REMOUNT, _READ_ONLY = 32, 1
ROOMY = 512 << 20
"""Bytes of a disk on which everything has room."""
FULL, CLOSED = "full", "read-only"


def trials(instants: int) -> list[Trial]:
    """Return several sizes a stage, and one disk that cannot be written."""
    several = max(1, instants // 7)
    return [Trial("disk", FULL, stage, n) for n in range(several) for stage in ORDER] + [
        Trial("disk", CLOSED, stage) for stage in ORDER
    ]


def perform(trial: Trial, world: World, box: Path) -> Outcome:
    """Run a stage on a disk that fails it, mend the disk, run it again, compare."""
    with _tmpfs(box / "disk") as disk:
        root = world.before(trial.stage, disk / "store")
        # A little more than what is there: all of it is used up at another point each time.
        need = _bytes(world.folder / "reference" / "artifacts" / trial.stage)
        share = trial.random().random()
        room = _used(disk) + int(share * (2 * need + (64 << 10)))
        _mount(disk, room if trial.case == FULL else ROOMY, closed=trial.case == CLOSED)
        flow = start(box / "run", root, recipe(), (trial.stage,), retries=0)
        code = flow.wait()
        flow.destroy()
        if trial.case == CLOSED and (code == 0 or computed(flow.events())):
            raise Broken("something was computed for a disk that cannot be written")
        words = f"{root} cannot be written" if trial.case == CLOSED else f"{root} is full"
        if code and words not in flow.log:
            raise Broken(f"the error does not say {words!r}:\n{flow.log[-2000:]}")
        check_visible(root)
        _mount(disk, ROOMY)
        again = start(box / "run", root, recipe(), (trial.stage,), retries=0)
        if again.wait():
            raise Broken(f"the restart failed:\n{again.log[-2000:]}")
        world.check(root, ORDER[: ORDER.index(trial.stage) + 1])
        if whole := redone_whole(again.events()):
            raise Broken(f"computed although stored: {whole}")
        return Outcome(0, {"failed": code != 0})


@contextmanager
def _tmpfs(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True)
    if _LIBC.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={ROOMY}".encode()):
        raise Skipped("this user may not mount a tmpfs")
    try:
        yield folder
    finally:
        _LIBC.umount2(os.fsencode(folder), 2)


def _mount(disk: Path, size: int, *, closed: bool = False) -> None:
    flags = _REMOUNT | (_READ_ONLY if closed else 0)
    if _LIBC.mount(b"tmpfs", os.fsencode(disk), b"tmpfs", flags, f"size={size}".encode()):
        raise Skipped(f"cannot change the disk: {os.strerror(ctypes.get_errno())}")


def _used(disk: Path) -> int:
    info = os.statvfs(disk)
    return (info.f_blocks - info.f_bfree) * info.f_frsize


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
