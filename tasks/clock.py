"""What a shard's seconds went into: the model, or what is read and loaded around it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_around: list[float] = []


@contextmanager
def around_the_model() -> Iterator[None]:
    """Count the time inside the block as none of the model's; blocks may stand in each other."""
    before, started = len(_around), time.monotonic()
    try:
        yield
    finally:
        del _around[before:]  # what an inner block took is part of this one
        _around.append(time.monotonic() - started)


def seconds_around() -> float:
    """Return the seconds since the last call that were none of the model's.

    A process computes one shard at a time, so they are those of the shard in work.
    """
    seconds = sum(_around)
    _around.clear()
    return seconds
