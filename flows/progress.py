"""A progress bar with rate and time left, for whatever takes longer than two seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_err = Console(stderr=True, highlight=False)


class Tell(Protocol):
    """Hears what is done: how much more, and of how much once that is known."""

    def __call__(self, amount: int, total: int | None = None, what: str | None = None) -> None:
        """Go on by `amount`; `total` and `what` replace what was planned and what is done."""
        ...


class RateColumn(ProgressColumn):
    """How much is done in a second, or how long each takes; without a unit they are bytes."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Return the rate, empty where none was measured yet."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        if not self._unit:
            return Text(f"{decimal(int(speed))}/s")
        return Text(f"{speed:.1f} {self._unit}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


@contextmanager
def progress_bar(what: str, unit: str = "") -> Iterator[Tell]:
    """Show a bar on stderr inside the block; it counts `unit`, or bytes if there is none."""
    amount = MofNCompleteColumn() if unit else DownloadColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, RateColumn(unit),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=_err, transient=True) as bars:
        task = bars.add_task(what, total=None)

        def tell(amount: int, total: int | None = None, what: str | None = None) -> None:
            if total is not None:
                bars.update(task, total=total)
            if what is not None:
                bars.update(task, description=what)
            bars.advance(task, amount)

        yield tell
