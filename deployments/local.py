"""Server and runner of one checkout: bring them up, find them, take them down."""

from __future__ import annotations

import fcntl
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from deployments.access import DATABASE, LOOPBACK, LaunchError, require_auth
from deployments.home import Home
from deployments.processes import (
    Child,
    forget,
    free_port,
    leftovers,
    port_holder,
    port_is_free,
    recall,
    spawn,
    stop,
)
from deployments.zombies import CRASH_AFTER_SECONDS, bury, ensure_automation

START_SECONDS = 240.0
"""A first start compiles and migrates: 22 seconds were seen on two busy cores."""
LOCK_SECONDS = 5.0
"""Long enough for another command that only looks; a whole run is not waited for."""


@dataclass(frozen=True)
class Pair:
    """A server and a runner that stand."""

    home: Home
    server: Child
    runner: Child
    own: bool = False
    """True if it stands for one run only and ends with it."""

    def require_alive(self) -> None:
        """Raise `ChildDied` if one of the two has ended."""
        self.server.require_alive()
        self.runner.require_alive()


def healthy(home: Home) -> bool:
    """True if a Prefect server answers at the home's address."""
    try:
        with urllib.request.urlopen(f"{home.url}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def standing(home: Home) -> Pair | None:
    """Find the pair that an earlier command left standing, at whatever port it has."""
    server, runner = recall(home, "server"), recall(home, "runner")
    if server is None or runner is None:
        return None
    found = Pair(_where(home, server), server, runner)
    return found if healthy(found.home) else None


def _where(home: Home, server: Child) -> Home:
    return replace(home, port=server.port, host=server.host)


@contextmanager
def alone(home: Home) -> Iterator[None]:
    """Hold the home's lock: one command at a time starts, ends or owns its server.

    The kernel frees the lock when the holder dies; what the file says is for the message only.
    """
    home.create()
    with (home.folder / "launcher.lock").open("a+") as file:
        _acquire(file, home)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()} ({' '.join(sys.orig_argv)})")
        file.flush()
        yield


def _acquire(file: TextIO, home: Home) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.seek(0)
                raise LaunchError(
                    f"{home.folder} is in use by process {file.read().strip()}: wait for it or "
                    "end it (`make up` gives a server that takes any number of runs)"
                ) from None
            time.sleep(0.2)


@contextmanager
def pair_for_one_run(home: Home) -> Iterator[Pair]:
    """Give the pair that stands, or one on a free port that lives only inside the `with`.

    That one keeps its state in the home whatever the environment says: a shared database has a
    server of its own, which knows what else is running.
    """
    with ExitStack() as stack:
        stack.enter_context(alone(home))
        if recall(home, "server") is not None:
            pair = ensure(home)
            stack.close()  # others may use it at the same time
            yield pair
            return
        own = replace(home, port=free_port(), host=LOOPBACK, database=None)
        stack.callback(clear, own)
        yield replace(bring_up(own, guarded=True), own=True)


def ensure(home: Home, crash_after: float = CRASH_AFTER_SECONDS) -> Pair:
    """Return the standing pair, start what is missing of it; needs the home's lock."""
    pair = standing(home)
    if pair is not None:
        pair.home.activate()
        return pair
    server = recall(home, "server")
    here = home if server is None else _where(home, server)
    if server is None or not healthy(here):
        if server is not None and server.state != here.state:
            raise LaunchError(
                "the server does not answer, and to start it again its database is needed, "
                f"{server.state}: name it in {DATABASE}, or `make down` first"
            )
        return bring_up(here, guarded=False, crash_after=crash_after)
    here.activate()
    # The runner is gone: what it ran has lost its worker, and may still hold a device.
    stop([process for process in leftovers(home) if process.pid != server.process.pid])
    _prepare(crash_after)
    return Pair(here, server, start_runner(here, guarded=False))


def bring_up(home: Home, *, guarded: bool, crash_after: float = CRASH_AFTER_SECONDS) -> Pair:
    """Start server and runner and wait until runs can be created; needs the home's lock.

    What an earlier pair left behind is ended first, and its unfinished runs are marked Crashed.
    Raises LaunchError for a busy port, ChildDied with the log's end if one of them does not come.
    """
    require_auth(home.host, os.environ)
    home.activate()
    clear(home)
    if not port_is_free(home.port, home.host):
        raise LaunchError(
            f"port {home.port} is taken by {port_holder(home.port)}; end it, or set another port "
            "in pyproject.toml ([tool.prefect.api] url and [tool.prefect.server.api] port)"
        )
    server = spawn(
        home,
        "server",
        ["prefect", "server", "start", "--host", home.host, "--port", str(home.port)],
        guarded=guarded,
    )
    try:
        _await_health(home, server)
        _prepare(crash_after)
        runner = start_runner(home, guarded=guarded)
    except BaseException:
        clear(home)
        raise
    return Pair(home, server, runner)


def _await_health(home: Home, server: Child) -> None:
    import prefect.client.orchestration  # noqa: F401  # 1.5 s that pass while the server starts

    deadline = time.monotonic() + START_SECONDS
    while not healthy(home):
        server.require_alive()
        if time.monotonic() > deadline:
            raise LaunchError(f"no answer from the server in {START_SECONDS:g} s, see {server.log}")
        time.sleep(0.2)
    # Another server may have taken the port between our look and the start of ours.
    server.require_alive()


def _prepare(crash_after: float) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        bury(client)
        ensure_automation(client, seconds=crash_after)


def start_runner(home: Home, *, guarded: bool) -> Child:
    """Start the runner on a healthy server and wait until its deployments are registered."""
    ready = home.folder / "runner.ready"
    ready.unlink(missing_ok=True)
    arguments = ["deployments.serve", "--package", home.package, "--ready", str(ready)]
    runner = spawn(home, "runner", arguments, guarded=guarded)
    _await_registration(runner, ready)
    return runner


def _await_registration(runner: Child, ready: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready.exists():
        runner.require_alive()
        if time.monotonic() > deadline:
            raise LaunchError(f"no deployments after {START_SECONDS:g} s, see {runner.log}")
        time.sleep(0.1)


def clear(home: Home) -> int:
    """End whatever runs in this home, the runner before the server; return how many ended.

    The server goes last so that the runner can still report what becomes of its flow runs.
    """
    count = len(leftovers(home))
    for role in ("runner", "server"):
        child = recall(home, role)
        if child is not None:
            stop([child.process])
        forget(home, role)
    stop(leftovers(home))
    return count
