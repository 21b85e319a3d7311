"""Server, runner and runs from the command line: `python -m deployments.launch up|run|down|status`.

`up` leaves a server and a runner standing; `run` does one run from start to end, on the standing
pair or on one of its own; `down` ends what `up` started; `status` says what stands.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from deployments.access import DATABASE, LOOPBACK, LaunchError, database_url
from deployments.home import CHECKOUT, Home, configured_port
from deployments.local import (
    Pair,
    alone,
    clear,
    ensure,
    pair_for_one_run,
    standing,
)
from deployments.processes import Child, ChildDied, recall
from deployments.progress import follow
from deployments.zombies import CRASH_AFTER_SECONDS

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

app = typer.Typer(add_completion=False, help=__doc__, no_args_is_help=True)
console = Console(soft_wrap=True)

HomeOption = Annotated[Path, typer.Option("--home", help="Prefect's folder of this checkout.")]
PortOption = Annotated[
    int | None,
    typer.Option("--port", help="Port of the server (default: pyproject.toml)."),
]
PackageOption = Annotated[str, typer.Option(hidden=True, help="Package that holds the pipeline.")]
DEFAULT_HOME = CHECKOUT / ".prefect"
CANCEL_SECONDS = 8.0


def _home(folder: Path, port: int | None, package: str) -> Home:
    return Home(folder.resolve(), port or configured_port(), package)


@app.command()
def up(
    home: HomeOption = DEFAULT_HOME,
    port: PortOption = None,
    host: Annotated[
        str | None,
        typer.Option("--host", help=f"Address that the server listens on ({LOOPBACK})."),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help=f"URL of a Postgres, no password in it; or the variable {DATABASE}."),
    ] = None,
    package: PackageOption = "flows",
    crash_after: Annotated[
        float, typer.Option(min=60, help="Silence of a run, in seconds, that means it crashed.")
    ] = CRASH_AFTER_SECONDS,
) -> None:
    """Leave a server and a runner standing; start only what is missing."""
    url = database_url(database, os.environ)
    place = replace(_home(home, port, package), host=host or LOOPBACK, database=url)
    with alone(place):
        _refuse_another(recall(place, "server"), host, place)
        before = standing(place)
        pair = before or ensure(place, crash_after)
    _say_pair(pair, "stands already" if before else "stands")
    console.print("start a run:  prefect deployment run mbpo/full --watch\nend it all:   make down")


def _refuse_another(server: Child | None, host: str | None, asked: Home) -> None:
    if server is None:
        return
    moved = host is not None and host != server.host
    if moved or (asked.database is not None and asked.state != server.state):
        raise LaunchError(
            f"a server stands already, on {server.host}, its state in {server.state}; "
            "`make down` ends it"
        )


@app.command()
def down(home: HomeOption = DEFAULT_HOME) -> None:
    """End the runner and the server that `up` started, and everything they started."""
    place = _home(home, None, "flows")
    with alone(place):
        ended = clear(place)
    console.print(f"ended {ended} processes" if ended else "nothing stands")


@app.command()
def status(home: HomeOption = DEFAULT_HOME) -> None:
    """Say what stands; exit status 0 if runs can be started, else 1."""
    place = _home(home, None, "flows")
    pair = standing(place)
    if pair is None:
        for role in ("server", "runner"):
            console.print(f"{role}: {'runs' if recall(place, role) else 'does not run'}")
        raise typer.Exit(1)
    _say_pair(pair, "stands")


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe or path of its file.")] = "mbpo",
    limit: Annotated[int | None, typer.Option(help="Only so many samples: a pilot.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only these stages.")] = None,
    start: Annotated[str | None, typer.Option(help="First stage.")] = None,
    refresh: Annotated[list[str] | None, typer.Option(help="Stages to build again.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the recipe, VALUE as JSON.")
    ] = None,
    runtime: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE of how to run: runner, root, workers, ...")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    package: PackageOption = "flows",
) -> None:
    """Run the pipeline once; the exit status is that of the flow run."""
    how = _pairs(runtime)
    chosen = {"limit": limit, "only": only, "start": start, "refresh": refresh}
    parameters: dict[str, Any] = {"recipe": recipe}
    parameters |= {name: value for name, value in chosen.items() if value}
    parameters |= {"overrides": _pairs(overrides)} if overrides else {}
    parameters |= {"runtime": how} if how else {}
    _heed_signals()
    with pair_for_one_run(_home(home, None, package)) as pair:
        _say_pair(pair, "stands")
        succeeded = _trigger(pair, parameters)
    if not succeeded:
        raise typer.Exit(1)


def _trigger(pair: Pair, parameters: dict[str, Any]) -> bool:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("mbpo/full")
        created = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        console.print(f"run:     {created.name} of mbpo/full {json.dumps(parameters)}")
        try:
            finished = follow(client, created.id, console, pair.require_alive)
        except BaseException:
            _cancel(client, created, pair)
            raise
    return _verdict(finished)


def _verdict(finished: FlowRun) -> bool:
    state = finished.state
    seconds = finished.total_run_time.total_seconds()
    console.print(f"{finished.name}: {state.name.lower()} after {seconds:.1f} s", highlight=False)
    if state.is_completed():
        return True
    console.print(state.message or "", markup=False)
    return False


def _cancel(client: SyncPrefectClient, created: FlowRun, pair: Pair) -> None:
    """Cancel a run whose waiting command is ended, so that no runner takes it up or goes on."""
    from prefect.states import Cancelled, Cancelling

    console.print(f"cancelling {created.name}")
    reason = "The command that waited for it was ended."
    client.set_flow_run_state(created.id, Cancelling(message=reason))
    if not pair.own:
        return
    deadline = time.monotonic() + CANCEL_SECONDS
    while not client.read_flow_run(created.id).state.is_final():
        if time.monotonic() > deadline or not pair.runner.alive:
            # The runner is about to be ended with everything that it started.
            client.set_flow_run_state(created.id, Cancelled(message=reason), force=True)
        time.sleep(0.2)


class Interrupted(BaseException):
    """The user or the system asked this command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _heed_signals() -> None:
    """Let the usual requests to end unwind the stack, once, so that everything is taken down."""

    def unwind(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for each in numbers:
        signal.signal(each, unwind)


def _pairs(items: list[str] | None) -> dict[str, Any]:
    pairs = {}
    for item in items or []:
        key, separator, value = item.partition("=")
        if not separator:
            raise typer.BadParameter(f"expected KEY=VALUE, got {item!r}")
        pairs[key] = _value(value)
    return pairs


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text  # a bare word is a string


def _say_pair(pair: Pair, verb: str) -> None:
    where = f"{pair.home.address}, process {pair.server.process.pid}"
    console.print(f"server:  {verb}, {where}", highlight=False)
    console.print(f"state:   {pair.server.state}", highlight=False)
    console.print(f"runner:  {verb}, process {pair.runner.process.pid}", highlight=False)
    console.print(f"logs:    {pair.home.logs}", highlight=False)


def main() -> None:
    """Run the command line; errors that a user can act on are shown without a traceback."""
    try:
        app()
    except (LaunchError, ChildDied) as error:
        sys.exit(f"error: {error}")
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.number)


if __name__ == "__main__":
    main()
