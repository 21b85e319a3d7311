"""A process for each trainer, so that each has a peak memory of its own; steps taken in turn."""

import logging
import multiprocessing
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import torch
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from benchmarks.measure import peak_memory_mib
from benchmarks.training.batch import Work
from benchmarks.training.phases import PHASES, Stopwatch

logger = logging.getLogger(__name__)

OURS, BASELINE, AS_SHIPPED = "ours", "trl", "trl as shipped"


@dataclass(frozen=True)
class Report:
    """One optimiser step."""

    seconds: dict[str, float]
    """By phase."""
    peak: int
    """Largest resident memory of the process so far, in bytes."""


class Worker:
    """A trainer in a process of its own that takes one step when asked."""

    def __init__(self, side: str, work: Work, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._side = side
        self._here, there = context.Pipe()
        self._process = context.Process(
            target=_train, args=(side, work, folder, there), daemon=True
        )
        self._process.start()
        there.close()

    def step(self) -> Report:
        """One optimiser step, timed; the first one is the warm-up."""
        self._here.send(None)
        try:
            report = self._here.recv()
        except EOFError:
            raise RuntimeError(f"the process of {self._side} ended; its error is above") from None
        logger.info("%s: %s", self._side, report)
        return report

    def close(self) -> None:
        """End the process, which waits between two steps."""
        self._process.terminate()
        self._process.join()


@dataclass(frozen=True)
class Figures:
    """Medians of one side."""

    seconds: float
    """Of a whole step."""
    phases: dict[str, float]
    """Of each phase; they need not add up to the median of the whole."""
    peak: int
    """Largest resident memory in bytes."""


def measure(work: Work, sides: tuple[str, ...], rounds: int) -> dict[str, Figures]:
    """Let the sides take steps in turn: one warm-up each, then `rounds` that count."""
    reports: dict[str, list[Report]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder, _workers(sides, work, Path(folder)) as workers:
        for worker in workers.values():
            worker.step()
        for index in range(rounds):
            for side in sides if index % 2 == 0 else reversed(sides):
                reports[side].append(workers[side].step())
    return {side: _figures(found) for side, found in reports.items()}


def agree(work: Work) -> None:
    """Check, in a process of its own, that both sides compute the same.

    Errors: RuntimeError where they do not; what differs has been printed.
    """
    process = multiprocessing.get_context("spawn").Process(target=_check, args=(work,))
    process.start()
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"{work.stream}, {work.tuning}: the two sides differ, see above")


def _figures(reports: list[Report]) -> Figures:
    return Figures(
        seconds=median(sum(report.seconds.values()) for report in reports),
        phases={phase: median(report.seconds[phase] for report in reports) for phase in PHASES},
        peak=max(report.peak for report in reports),
    )


@contextmanager
def _workers(sides: tuple[str, ...], work: Work, folder: Path) -> Iterator[dict[str, Worker]]:
    workers: dict[str, Worker] = {}
    try:
        for side in sides:
            workers[side] = Worker(side, work, folder / side)
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def _train(side: str, work: Work, folder: Path, there: Connection) -> None:
    """What a process does: train, and wait between steps."""
    _quiet(work)
    watch = Stopwatch()

    def on_step() -> None:
        there.send(Report(watch.stop(), int(peak_memory_mib() * 2**20)))
        there.recv()
        watch.start()

    there.recv()
    watch.start()
    _runner(side)(work, folder, watch, on_step)


def _check(work: Work) -> None:
    from benchmarks.training.baseline import score_responses_only
    from benchmarks.training.check import check

    _quiet(work)
    score_responses_only()
    with tempfile.TemporaryDirectory() as folder:
        check(work, Path(folder))


def _runner(side: str) -> Callable[[Work, Path, Stopwatch, Callable[[], None]], None]:
    """Imported where it runs: our process must not carry TRL's imports."""
    if side == OURS:
        from benchmarks.training.ours import run

        return run
    from benchmarks.training.baseline import run as run_trl

    return partial(run_trl, as_shipped=side == AS_SHIPPED)


def _quiet(work: Work) -> None:
    torch.set_num_threads(work.threads)
    set_verbosity_error()
    disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)  # TRL asks transformers by names of old
