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
LAST_LOGS_SECONDS = 10.0
LONG_LINE = 300
PAGE = 200
"""The server gives no more rows than this at a time."""

QUIET_STATES = ("Pending", "Running", "Completed")
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
    _begun: set[str] = field(default_factory=set)
    _logs_read: int = 0
    _failure_told: bool = False
    said_last_word: bool = False

    def news(self) -> Iterator[str]:
        """Yield a line for every stage that began, every shard in trouble, every line of log.

        Shards that go well are not told one by one: the flow's own log counts them.
        """
        for run in self._task_runs():
            state = run.state_name or "?"
            stage = run.name.partition("-")[0]
            if state == "Running" and stage not in self._begun:
                self._begun.add(stage)
                yield self._stamp(f"{stage}: running")
            elif state not in QUIET_STATES and self._states.get(run.id) != state:
                self._states[run.id] = state
                yield self._stamp(f"{run.name}: {state.lower()}")
        for entry in self._new_logs():
            if entry.task_run_id is None and entry.message.startswith("Finished in state "):
                self.said_last_word = True
            if not entry.message.startswith(ENGINE_CHATTER):
                yield self._stamp(self._once(entry.message))

    def _once(self, message: str) -> str:
        # The engine logs one exception again at every level that it passes: the first is enough.
        head, separator, _ = message.partition("\nTraceback ")
        if not separator or not self._failure_told:
            self._failure_told |= bool(separator)
            head, separator, rest = message.partition("\n")
        else:
            separator = rest = ""
        # An exception that quotes another's traceback is one line of thousands of characters.
        return (head if len(head) <= LONG_LINE else f"{head[:LONG_LINE]} ...") + separator + rest

    def _stamp(self, text: str) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        # A table starts on a line of its own, or its head would stand askew.
        separator = "\n" if text.startswith(" ") or text.count("\n") > 2 else "  "
        return f"{minutes:3d}:{seconds:02d}{separator}{text}"

    def _task_runs(self) -> list[TaskRun]:
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
        from prefect.client.schemas.sorting import TaskRunSort

        mine = FlowRunFilter(id=FlowRunFilterId(any_=[self.flow_run_id]))
        return pages(
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
        entries = pages(
            lambda offset: self.client.read_logs(mine, limit=PAGE, offset=self._logs_read + offset)
        )
        self._logs_read += len(entries)
        return entries


def pages(read: Callable[[int], list[Row]]) -> list[Row]:
    """Read all rows of which `read(offset)` gives the next PAGE."""
    rows: list[Row] = []
    while True:
        page = read(len(rows))
        rows += page
        if len(page) < PAGE:
            return rows


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
                spoke = run.state.is_completed() or run.state.is_failed()
                patience = LAST_LOGS_SECONDS if spoke else 1.0
                if narrator.said_last_word or time.monotonic() - ended > patience:
                    return run
            else:
                check()
            status.update(f"{run.name}: {(run.state_name or 'unknown').lower()}")
            time.sleep(POLL_SECONDS)
