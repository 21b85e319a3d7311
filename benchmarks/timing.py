"""Seconds of two clocks, intervals of time, and growth."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

Interval = tuple[float, float]


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """Return what argparse checks a word with: `choices` refuses that there be none."""
    known = tuple(names)

    def check(word: str) -> str:
        if word not in known:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
        return word

    return check


@dataclass
class Taken:
    """Seconds of the wall clock and of this process on the CPU."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def taken() -> Iterator[Taken]:
    """Measure the block; on a machine that others use too, CPU seconds are what repeats."""
    seconds = Taken()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield seconds
    finally:
        seconds.wall += time.perf_counter() - wall
        seconds.cpu += time.process_time() - cpu


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Return p of seconds ~ size**p: least squares in the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Return disjoint intervals that cover the same time, in order."""
    merged: list[Interval] = []
    for begin, end in sorted(pair for pair in intervals if pair[0] < pair[1]):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def length(intervals: Iterable[Interval]) -> float:
    """Return the time that the intervals cover together."""
    return sum(end - begin for begin, end in union(intervals))


def within(intervals: Iterable[Interval], window: Interval) -> list[Interval]:
    """Return what of the intervals lies in a window."""
    return [(max(begin, window[0]), min(end, window[1])) for begin, end in intervals]
