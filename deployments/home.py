"""One Prefect home in a checkout: its folder, its address, the environment of its processes."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from deployments.access import (
    ANYWHERE,
    DATABASE,
    LOOPBACK,
    client_auth,
    database_label,
    without_servers_own,
)

CHECKOUT = Path(__file__).resolve().parents[1]
MARKER = "MBPO_LAUNCHED_FROM"
"""Environment variable that every process of a home carries, so that none is ever lost."""

HEARTBEAT_SECONDS = 30
"""How often a flow run says that it lives; 30 is the least that Prefect takes."""


@dataclass(frozen=True)
class Home:
    """Where server and runner live: `folder` is PREFECT_HOME, `port` the server's port.

    `package` holds the pipeline: `<package>.pipeline` with the flow function `mbpo` and the table
    `DEPLOYMENTS`.
    """

    folder: Path
    port: int
    package: str = "flows"
    host: str = LOOPBACK
    """Address that the server listens on."""
    database: str | None = field(default=None, repr=False)
    """URL of the server's database, perhaps with its password; None: SQLite in the folder."""

    @property
    def address(self) -> str:
        """Where this machine reaches the server."""
        host = ANYWHERE.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def url(self) -> str:
        """Address of the server's interface."""
        return f"{self.address}/api"

    @property
    def state(self) -> str:
        """Where the server keeps its state, in words without a secret."""
        return database_label(self.database)

    @property
    def logs(self) -> Path:
        """Folder of the log files of server and runner."""
        return self.folder / "logs"

    def create(self) -> None:
        """Make the folder, readable by its owner only: whoever writes there runs code as them."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        self.logs.mkdir(exist_ok=True)

    def environment(self) -> dict[str, str]:
        """Variables that bind a client to this home, whatever the caller's shell says."""
        return {
            "PREFECT_HOME": str(self.folder),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            # The interface has no password by default: pages of other origins must not reach it.
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": self.address,
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
            # What the packages log with the standard library shows up with the flow run.
            "PREFECT_LOGGING_EXTRA_LOGGERS": "mbpo_core,storage,tasks,flows",
            "PREFECT_LOGGING_ROOT_LEVEL": "INFO",
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
            "MBPO_ROOT": str(CHECKOUT),
            **client_auth(os.environ),
        }

    def environment_of(self, role: str) -> dict[str, str]:
        """All variables of a process of this home; only the server's tell of its database."""
        marked = {**self.environment(), MARKER: str(self.folder)}
        if role != "server":
            return {**without_servers_own(os.environ), **marked}
        url = self.database or f"sqlite+aiosqlite:///{self.folder}/prefect.db"
        return {**os.environ, **marked, DATABASE: url}

    def activate(self) -> None:
        """Bind this process too; to be called before Prefect is imported."""
        os.environ.update(self.environment())


def configured_port(pyproject: Path = CHECKOUT / "pyproject.toml") -> int:
    """Port in `[tool.prefect.api] url`, which plain `prefect` commands in the checkout use."""
    with pyproject.open("rb") as file:
        url: str = tomllib.load(file)["tool"]["prefect"]["api"]["url"]
    port = urlsplit(url).port
    if port is None:
        raise ValueError(f"[tool.prefect.api] url in {pyproject} must name a port, got {url!r}")
    return port
