"""One Prefect home in a checkout: its folder, its port, the environment of its processes."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

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

    @property
    def url(self) -> str:
        """Address of the server's interface."""
        return f"http://127.0.0.1:{self.port}/api"

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
        """Variables that bind a process to this home, whatever the caller's shell says."""
        return {
            "PREFECT_HOME": str(self.folder),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            # The interface has no password: pages of other origins must not reach it.
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{self.port}",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
            # What the packages log with the standard library shows up with the flow run.
            "PREFECT_LOGGING_EXTRA_LOGGERS": "mbpo_core,storage,tasks,flows",
            "PREFECT_LOGGING_ROOT_LEVEL": "INFO",
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
            "MBPO_ROOT": str(CHECKOUT),
        }

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
