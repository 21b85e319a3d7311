"""Several ways to do one thing, timed in turn in one process: medians and ratios, one line each."""

import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

Way = Callable[[], object]


def clock(device: torch.device) -> Callable[[], float]:
    """Seconds to measure with.

    On a CPU with one thread the CPU time of the process: it does not count the time in which other
    processes had the core. With more threads, or on another device, wall time.
    """
    if device.type == "cpu" and torch.get_num_threads() == 1:
        return time.process_time

    def wall() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return wall


def seconds(way: Way, now: Callable[[], float]) -> float:
    """Of one call."""
    start = now()
    way()
    return now() - start


def in_turn(
    ways: Mapping[str, Way], rounds: int, now: Callable[[], float], *, warm: bool = True
) -> dict[str, list[float]]:
    """Seconds of every way in every round: A B C, C B A, A B C, ...

    Every other round is run backwards, so that a drift of the machine meets all ways alike.
    `warm` runs each way once before, unmeasured.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    if warm:
        for way in ways.values():
            way()
    for index in range(rounds):
        order = list(ways) if index % 2 == 0 else list(reversed(ways))
        for name in order:
            taken[name].append(seconds(ways[name], now))
    return taken


def medians(taken: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Median seconds of every way."""
    return {name: statistics.median(values) for name, values in taken.items()}


def ratio(taken: Mapping[str, Sequence[float]], slow: str, fast: str) -> float:
    """How many times `fast` is as fast as `slow`: the median of the rounds' own ratios."""
    pairs = zip(taken[slow], taken[fast], strict=True)
    return statistics.median(a / b for a, b in pairs)


def best_batch(run: Callable[[int], object], sizes: Sequence[int], now: Callable[[], float]) -> int:
    """The batch size with which `run(size)` is fastest, each tried once, the smallest last.

    Whatever a first call pays for, the caller has paid before.
    """
    taken = {size: seconds(partial(run, size), now) for size in sorted(sizes, reverse=True)}
    return min(taken, key=taken.__getitem__)


def print_ratio(name: str, value: float) -> None:
    """The line that other programs read."""
    print(f"ratio {name} {value:.3f}", flush=True)


def print_figures(name: str, **figures: float | int | str) -> None:
    """One line: a name, then figures."""
    shown = (f"{key}={_short(value)}" for key, value in figures.items())
    print(f"{name}: {' '.join(shown)}", flush=True)


def largest_difference(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> float:
    """Largest absolute difference of two lists of tensors."""
    pairs = zip(ours, theirs, strict=True)
    return max((a.double() - b.double()).abs().max().item() for a, b in pairs)


def require_equal(
    what: str, ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor], tolerance: float
) -> None:
    """Nothing is timed before both ways agree. Errors: ValueError beyond the tolerance."""
    off = largest_difference(ours, theirs)
    if not off <= tolerance:
        raise ValueError(f"{what}: ours and the baseline differ by {off:.3g}, at most {tolerance}")
    print_figures(f"equal {what}", largest_difference=off, tolerance=tolerance)


def peak_memory_mib() -> float:
    """Largest resident memory of this process so far, in MiB.

    Not `ru_maxrss`, which a child inherits from the process that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _short(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
