"""No run stays `Running` for ever: what lost its worker is marked Crashed.

Prefect marks a run as crashed when its process dies under a living runner. Two cases are left:
runner and run die together (an automation on the server notices that the heartbeats stop), and
the server dies too (what the next server finds unfinished is dead, since nothing ran in between).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from deployments.progress import PAGE, pages

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.events.schemas.automations import AutomationCore

AUTOMATION = "mbpo: a run without heartbeat has crashed"
CRASH_AFTER_SECONDS = 90
"""Three heartbeats of 30 seconds: one that is late under load is no death."""


def automation(name: str, seconds: float) -> AutomationCore:
    """Describe the rule: after a heartbeat, silence of the run for so long means Crashed."""
    from prefect.client.schemas.objects import StateType
    from prefect.events import AutomationCore, ChangeFlowRunState, EventTrigger, Posture

    message = f"No heartbeat for {seconds:g} s: its worker is gone. Run it again to resume."
    return AutomationCore(
        name=name,
        trigger=EventTrigger(
            posture=Posture.Proactive,
            match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            threshold=1,
            within=timedelta(seconds=seconds),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=message)],
    )


def ensure_automation(
    client: SyncPrefectClient, name: str = AUTOMATION, seconds: float = CRASH_AFTER_SECONDS
) -> None:
    """Create the rule on the server, or bring the one of that name up to date."""
    wanted = automation(name, seconds)
    for existing in client.read_automations_by_name(name):
        client.update_automation(existing.id, wanted)
        return
    client.create_automation(wanted)


def bury(client: SyncPrefectClient) -> list[FlowRun]:
    """End in the books what an ended server left unfinished; only when nothing can be running.

    Scheduled runs are left alone: they have not begun, and a runner may still take them. So are
    runs of a work pool: their workers, on other machines, outlive runner and server.
    """
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.states import Cancelled, Crashed

    ends = {StateType.RUNNING: Crashed, StateType.PENDING: Crashed, StateType.CANCELLING: Cancelled}
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(ends)))
    unfinished = pages(
        lambda offset: client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=state), limit=PAGE, offset=offset
        )
    )
    dead = [run for run in unfinished if run.work_pool_name is None]
    reason = "The runner ended before this run did. Run it again to resume."
    for run in dead:
        client.set_flow_run_state(run.id, ends[run.state_type](message=reason), force=True)
    return dead
