"""A real server and runner for tests, in a home and on a port of their own."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deployments.home import CHECKOUT, Home
from deployments.processes import leftovers

TOYS = Path(__file__).parent / "deployments"
OTHERS_SETTINGS = ("PREFECT_", "MBPO_")


def shell() -> dict[str, str]:
    """Environment of a user who has set nothing of Prefect, with the toy pipeline importable."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(OTHERS_SETTINGS)}
    return {**plain, "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{TOYS}", "DO_NOT_TRACK": "1"}


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)


def listening(home: Home, port: int | None = None) -> set[str]:
    """Addresses on which processes of this home take connections, at one port or at all."""
    return {
        connection.laddr.ip
        for process in leftovers(home)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and port in (None, connection.laddr.port)
    }


@dataclass(frozen=True)
class Place:
    """A home with the commands that a user would type for it."""

    home: Home
    variables: dict[str, str] = field(default_factory=dict)
    """What the user has set besides."""

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "deployments.launch", *arguments, "--home", self.home.folder],
            cwd=CHECKOUT,
            env={**shell(), **self.variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def launch(self, *arguments: str) -> tuple[int, str]:
        with self.start(*arguments) as process:
            output, _ = process.communicate(timeout=480)
        return process.returncode, output

    def up(self, *arguments: str) -> tuple[int, str]:
        place = ("--port", str(self.home.port), "--package", self.home.package)
        return self.launch("up", *place, *arguments)

    def run(self, *arguments: str) -> tuple[int, str]:
        return self.launch("run", "--package", self.home.package, *arguments)

    def prefect(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """Run a `prefect` command bound to this home, as plain ones are by pyproject.toml."""
        return self.module("prefect", *arguments, **variables)

    def module(self, name: str, *arguments: str, **variables: str) -> tuple[int, str]:
        bound = {"PREFECT_HOME": str(self.home.folder), "PREFECT_API_URL": self.home.url}
        done = subprocess.run(
            [sys.executable, "-m", name, *arguments],
            cwd=CHECKOUT,
            env={**shell(), **bound, **variables},
            capture_output=True,
            text=True,
            timeout=240,
        )
        return done.returncode, done.stdout + done.stderr

    def states(self) -> list[str]:
        """States of all flow runs, oldest first, from the server's database."""
        with sqlite3.connect(f"file:{self.home.folder}/prefect.db?mode=ro", uri=True) as database:
            rows = database.execute("select state_type from flow_run order by created").fetchall()
        database.close()
        return [state for (state,) in rows]

    def named_runs(self) -> list[tuple[str, list[str]]]:
        """Names and tags of all flow runs, oldest first, from the server's database."""
        with sqlite3.connect(f"file:{self.home.folder}/prefect.db?mode=ro", uri=True) as database:
            rows = database.execute("select name, tags from flow_run order by created").fetchall()
        database.close()
        return [(name, sorted(json.loads(tags))) for name, tags in rows]

    def processes(self) -> list[str]:
        return [" ".join(process.cmdline()) for process in leftovers(self.home)]
