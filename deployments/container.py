"""Entry point of the image: `server`, `worker`, `register`, `health`, or any other command.

A worker in a cluster starts jobs with a command of its own; that is run as it stands.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from deployments.access import LOOPBACK, LaunchError, require_auth

PORT = 4200
POOL = "mbpo"
FOLDER = Path(__file__).parent
PREFECT = [sys.executable, "-m", "prefect"]
TEMPLATES = {"kubernetes": FOLDER / "kubernetes" / "pool" / "base-job-template.json"}
"""Templates of jobs by the pool's type; a pool of processes takes Prefect's own."""


def server(words: list[str]) -> int:
    """Become the Prefect server; on another address than loopback only with a password."""
    parser = argparse.ArgumentParser(prog="server", description=server.__doc__)
    parser.add_argument("--host", default=LOOPBACK)
    parser.add_argument("--port", type=int, default=PORT)
    chosen = parser.parse_args(words)
    require_auth(chosen.host, os.environ)
    where = ["--host", chosen.host, "--port", str(chosen.port)]
    return become([*PREFECT, "server", "start", *where])


def worker(words: list[str]) -> int:
    """Become a worker of the pool, which `register` has made."""
    chosen = _with_type("worker", worker.__doc__).parse_args(words)
    return become([*PREFECT, "worker", "start", "--pool", POOL, "--type", chosen.type])


def register(words: list[str]) -> int:
    """Make the pool, or bring its job template up to date, and register the deployments."""
    chosen = _with_type("register", register.__doc__).parse_args(words)
    template = TEMPLATES.get(chosen.type)
    job = [] if template is None else ["--base-job-template", str(template)]
    pool = ["work-pool", "create", POOL, "--type", chosen.type, *job, "--overwrite"]
    deploy = ["--no-prompt", "deploy", "--all", "--prefect-file", str(FOLDER / "prefect.yaml")]
    for arguments in (pool, deploy):
        done = subprocess.run([*PREFECT, *arguments])
        if done.returncode != 0:
            return done.returncode
    return 0


def health(words: list[str]) -> int:
    """Ask the server in this container how it is; 0 if it answers."""
    parser = argparse.ArgumentParser(prog="health", description=health.__doc__)
    parser.add_argument("--port", type=int, default=PORT)
    url = f"http://{LOOPBACK}:{parser.parse_args(words).port}/api/health"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return 0 if answer.status == 200 else 1
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return 1


ROLES: dict[str, Callable[[list[str]], int]] = {
    "server": server,
    "worker": worker,
    "register": register,
    "health": health,
}


def _with_type(role: str, description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=role, description=description)
    parser.add_argument("--type", choices=["process", "kubernetes"], default="process")
    return parser


def become(command: list[str]) -> int:
    """Replace this process by a command, so that signals reach it; never returns."""
    sys.stdout.flush()
    os.execvp(command[0], command)


def main(words: list[str] | None = None) -> int:
    """Play the role that the first word names, or run all the words as a command."""
    given = sys.argv[1:] if words is None else words
    if not given:
        sys.exit(f"error: expected a command, or one of {', '.join(ROLES)}")
    role = ROLES.get(given[0])
    try:
        return become(given) if role is None else role(given[1:])
    except LaunchError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    sys.exit(main())
