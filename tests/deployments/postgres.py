"""A real Postgres for a test: its own cluster, on a loopback port, with a password."""

import asyncio
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from deployments.processes import free_port
from tests.servers import wait_until

DEBIAN = Path("/usr/lib/postgresql")
USER = "prefect"


@dataclass(frozen=True)
class Postgres:
    port: int
    password: str

    @property
    def url(self) -> str:
        """As Prefect takes it; special characters of the password are percent-encoded."""
        password = quote(self.password, safe="")
        return f"postgresql+asyncpg://{USER}:{password}@127.0.0.1:{self.port}/postgres"

    @property
    def traces(self) -> tuple[str, ...]:
        """What must be found nowhere."""
        return self.password, quote(self.password, safe="")

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        async def fetch():
            connection = await asyncpg.connect(
                host="127.0.0.1", port=self.port, user=USER, password=self.password,
                database="postgres",
            )  # fmt: skip
            try:
                return await connection.fetch(query)
            finally:
                await connection.close()

        return [tuple(row) for row in asyncio.run(fetch())]

    def answers(self) -> bool:
        try:
            return self.ask("select 1") == [(1,)]
        except (OSError, asyncpg.PostgresError):
            return False


def binaries() -> Path:
    found = sorted(DEBIAN.glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("postgres")
    if not found and on_path is None:
        pytest.skip(f"no Postgres in {DEBIAN} nor on the PATH (apt-get install postgresql)")
    return (found[-1] if found else Path(on_path)).parent


def owner() -> dict[str, Any]:
    """Arguments of Popen: Postgres refuses to run as root, so root hands it to its own user."""
    if os.getuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("root may not run Postgres, and there is no user postgres")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@contextmanager
def cluster() -> Iterator[Postgres]:
    """Make a cluster in a folder that only its owner may enter, and run it."""
    programs, who = binaries(), owner()
    # Not below pytest's folder: no other user may pass through that.
    folder = Path(tempfile.mkdtemp(prefix="mbpo-postgres-"))
    try:
        with _running(programs, who, folder) as server:
            yield server
    finally:
        shutil.rmtree(folder)


@contextmanager
def _running(programs: Path, who: dict[str, Any], folder: Path) -> Iterator[Postgres]:
    server = Postgres(free_port(), f"p@ss/{secrets.token_hex(8)}")
    (folder / "password").write_text(server.password)
    for path in (folder, folder / "password"):
        os.chown(path, who.get("user", -1), who.get("group", -1))
    data, log = folder / "data", folder / "log"
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", "--no-sync",
         "--pwfile", folder / "password"],
        check=True, stdout=subprocess.DEVNULL, cwd=folder, **who,
    )  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(server.port),
             "-k", folder, "-c", "fsync=off"],
            stdout=output, stderr=subprocess.STDOUT, cwd=folder, **who,
        )  # fmt: skip
    try:
        wait_until(lambda: server.answers() or process.poll() is not None, 60, "Postgres answers")
        assert process.poll() is None, log.read_text()
        yield server
    finally:
        process.send_signal(2)  # "fast": connections are closed, nothing is lost
        process.wait(timeout=30)
