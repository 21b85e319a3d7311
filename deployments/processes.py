"""Processes that outlive the command that started them: start, find again, end."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from deployments.access import LOOPBACK, LaunchError, database_label
from deployments.home import CHECKOUT, MARKER, Home

CLOCK_TOLERANCE = 2.0
"""Seconds by which two readings of a process's start may differ when the clock is adjusted."""


class ChildDied(RuntimeError):
    """A process that should stay alive ended; the message carries the end of its log."""


@dataclass(frozen=True)
class Child:
    """A started process, with the role it plays and the file its output goes to."""

    role: str
    process: psutil.Process
    port: int
    log: Path
    host: str = LOOPBACK
    state: str = database_label(None)
    """Where the server keeps its state, in words without a secret."""

    @property
    def alive(self) -> bool:
        """True while it runs; one that ended but was not waited for counts as ended."""
        return is_alive(self.process)

    def require_alive(self) -> None:
        """Raise `ChildDied` with the last lines of its log if it has ended."""
        if not self.alive:
            raise ChildDied(f"the {self.role} ended; the end of {self.log}:\n{tail(self.log)}")


def is_alive(process: psutil.Process) -> bool:
    """True if the process runs and is not merely waiting to be reaped."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def tail(path: Path, lines: int = 25) -> str:
    """Return the last lines of a text file, "(empty)" if there are none."""
    text = path.read_text(errors="replace") if path.exists() else ""
    return "\n".join(text.splitlines()[-lines:]) or "(empty)"


def spawn(home: Home, role: str, arguments: list[str], *, guarded: bool) -> Child:
    """Start `python -m ...` from the checkout in a session of its own and note it down.

    guarded: it ends by itself when the calling process is gone, however that ended.
    The session keeps Ctrl-C away from it: the order of ending is the launcher's business.
    """
    home.create()
    log = home.logs / f"{role}.log"
    prefix = ["-m", "deployments.guard"] if guarded else ["-m"]
    with log.open("wb") as output:
        popen = subprocess.Popen(
            [sys.executable, *prefix, *arguments],
            cwd=CHECKOUT,
            env=home.environment_of(role),
            stdin=subprocess.PIPE if guarded else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    child = Child(role, _handle(popen), home.port, log, home.host, home.state)
    where = {"port": home.port, "host": home.host, "state": home.state}
    record = {"pid": popen.pid, "started": child.process.create_time(), **where}
    _record(home, role).write_text(json.dumps(record))
    return child


_popens: list[subprocess.Popen[bytes]] = []


def _handle(popen: subprocess.Popen[bytes]) -> psutil.Process:
    # Kept alive: a collected Popen closes the pipe that a guarded child listens to.
    _popens.append(popen)
    return psutil.Process(popen.pid)


def _record(home: Home, role: str) -> Path:
    return home.folder / f"{role}.process.json"


def recall(home: Home, role: str) -> Child | None:
    """Find a process that an earlier command started; None if it is gone.

    A pid alone proves nothing, since it is given again to others: the start must agree too.
    """
    path = _record(home, role)
    if not path.exists():
        return None
    record = json.loads(path.read_text())
    try:
        process = psutil.Process(record["pid"])
        same = abs(process.create_time() - record["started"]) < CLOCK_TOLERANCE
    except psutil.NoSuchProcess:
        same = False
    if not same or not is_alive(process):
        path.unlink()
        return None
    where = {key: record[key] for key in ("host", "state") if key in record}
    return Child(role, process, record["port"], home.logs / f"{role}.log", **where)


def forget(home: Home, role: str) -> None:
    """Remove the note about a process."""
    _record(home, role).unlink(missing_ok=True)


def stop(processes: list[psutil.Process], grace: float = 15.0) -> None:
    """Ask processes to end, wait, then kill what is left of them and of their children."""
    family = {p for process in processes for p in _family(process)}
    for process in processes:
        _signal(process, kill=False)
    psutil.wait_procs(processes, timeout=grace)
    # Children by themselves only now: a runner that is asked first can report on its flow runs.
    rest = [process for process in family if is_alive(process)]
    for process in rest:
        _signal(process, kill=False)
    _, rest = psutil.wait_procs(rest, timeout=3.0)
    for process in rest:
        _signal(process, kill=True)
    psutil.wait_procs(rest, timeout=5.0)
    for popen in _popens:
        popen.poll()  # psutil has reaped it; its own object must learn that it ended


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        process.kill() if kill else process.terminate()
    except psutil.NoSuchProcess:
        return


def leftovers(home: Home) -> list[psutil.Process]:
    """Every living process that carries this home's marker, orphans of a killed runner too."""
    found = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get(MARKER) == str(home.folder)
        except psutil.Error:  # another user's, or gone in the meantime
            continue
        if marked and is_alive(process) and process.pid != os.getpid():
            found.append(process)
    return found


def port_is_free(port: int, host: str = LOOPBACK) -> bool:
    """True if a server could listen there.

    Raises LaunchError if `host` is no address of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise LaunchError(f"--host {host} is no address: {error.strerror}") from None
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise LaunchError(f"--host {host} is no address of this machine") from None
            return False
    return True


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_holder(port: int) -> str:
    """Say who listens on a port: pid and command line, or how to find out."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        connections = []
    for connection in connections:
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        if listens and connection.pid is not None:
            return f"process {connection.pid} ({_command(connection.pid)})"
    return f"a process that this user may not see (try `sudo lsof -iTCP:{port} -sTCP:LISTEN`)"


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return "command line not readable"
