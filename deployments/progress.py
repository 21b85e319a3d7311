"""Follow a flow run from outside and say what happens, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from rich.console import Console

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, Log, TaskRun

Row = TypeVar("Row")

POLL_SECONDS = 0.5
LAST_LOGS_SECONDS = 3.0
PAGE = 200
"""The server gives no more rows than this at a time."""

ENGINE_CHATTER = (
    "Beginning flow run",
    "Beginning subflow run",
    "Created task run",
    "Created subflow run",
    "Downloading flow code",
    "View at ",
    "Finished in state ",
    "Engine execution exited ",
)
"""Log lines of the engine that only repeat the states shown already."""


@dataclass
class Narrator:
    """Turns what the server knows of a run into lines, each said once."""

    client: SyncPrefectClient
    flow_run_id: UUID
    started: float = field(default_factory=time.monotonic)
    _states: dict[UUID, str] = field(default_factory=dict)
    _logs_read: int = 0
    _failure_told: bool = False
    said_last_word: bool = False

    def news(self) -> Iterator[str]:
        """Yield a line for every task that changed its state and every new line of log."""
        for run in self._task_runs():
            state = run.state_name or "?"
            if self._states.get(run.id) != state and state != "Pending":
                self._states[run.id] = state
                yield self._stamp(f"{run.name:<24} {state.lower()}{_seconds(run)}")
        for entry in self._new_logs():
            if entry.task_run_id is None and entry.message.startswith("Finished in state "):
                self.said_last_word = True
            if not entry.message.startswith(ENGINE_CHATTER):
                yield self._stamp(f"  {self._once(entry.message)}")

    def _once(self, message: str) -> str:
        # The engine logs one exception again at every level that it passes: the first is enough.
        head, separator, _ = message.partition("\nTraceback ")
        if not separator or not self._failure_told:
            self._failure_told |= bool(separator)
            return message
        return head

    def _stamp(self, text: str) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        return f"{minutes:3d}:{seconds:02d}  {text}"

    def _task_runs(self) -> list[TaskRun]:
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
        from prefect.client.schemas.sorting import TaskRunSort

        mine = FlowRunFilter(id=FlowRunFilterId(any_=[self.flow_run_id]))
        return _pages(
            lambda offset: self.client.read_task_runs(
                flow_run_filter=mine,
                sort=TaskRunSort.EXPECTED_START_TIME_ASC,
                limit=PAGE,
                offset=offset,
            )
        )

    def _new_logs(self) -> list[Log]:
        from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

        mine = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[self.flow_run_id]))
        entries = _pages(
            lambda offset: self.client.read_logs(mine, limit=PAGE, offset=self._logs_read + offset)
        )
        self._logs_read += len(entries)
        return entries


def _pages(read: Callable[[int], list[Row]]) -> list[Row]:
    rows: list[Row] = []
    while True:
        page = read(len(rows))
        rows += page
        if len(page) < PAGE:
            return rows


def _seconds(run: TaskRun) -> str:
    if run.state is None or not run.state.is_final():
        return ""
    return f" ({run.total_run_time.total_seconds():.1f} s)"


def follow(
    client: SyncPrefectClient,
    flow_run_id: UUID,
    console: Console,
    check: Callable[[], None],
) -> FlowRun:
    """Print the news of a run until it has ended and return it as it then is.

    check: called at every look; raises when the run can no longer go on (its runner died).
    """
    narrator = Narrator(client, flow_run_id)
    ended: float | None = None
    with console.status("waiting for the runner") as status:
        while True:
            run = client.read_flow_run(flow_run_id)
            for line in narrator.news():
                console.print(line, markup=False, highlight=False)
            if run.state is not None and run.state.is_final():
                # Logs come in batches, some after the state: wait for the last, but not for ever.
                ended = ended or time.monotonic()
                if narrator.said_last_word or time.monotonic() - ended > LAST_LOGS_SECONDS:
                    return run
            else:
                check()
            status.update(f"{run.name}: {(run.state_name or 'unknown').lower()}")
            time.sleep(POLL_SECONDS)
