"""Bars tell how fast it goes, and for how much longer."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn

from flows import progress
from flows.progress import RateColumn, progress_bar


@pytest.mark.parametrize(
    ("unit", "each", "said"),
    [("rows", 4, "2.0 rows/s"), ("rows", 1, "2.0 s each"), ("", 4_000_000, "2.0 MB/s")],
)
def test_rate_and_time_left(unit, each, said):
    """A clock of our own goes on by two seconds for every `each` of them, ten times as many."""
    now = 0.0
    column, left = RateColumn(unit), TimeRemainingColumn()
    bars = Progress(column, left, get_time=lambda: now, console=Console(file=io.StringIO()))
    task = bars.add_task("work", total=10 * each)
    assert column.render(bars.tasks[0]).plain == ""
    for _ in range(6):
        now += 2
        bars.advance(task, each)
    assert column.render(bars.tasks[0]).plain == said
    assert left.render(bars.tasks[0]).plain == "0:00:08"


def test_a_bar_may_know_its_total_late(monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(progress, "_err", console)
    with progress_bar("copy", "files") as tell:
        tell(0, 4)
        tell(3)
    assert "copy" in console.file.getvalue() and "3/4" in console.file.getvalue()


def test_what_a_bar_is_about_may_change(monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(progress, "_err", console)
    with progress_bar("plan", "stages") as tell:
        tell(1, 11, what="ingest")
    assert "ingest" in console.file.getvalue() and "1/11" in console.file.getvalue()
