"""Offer every deployment of the pipeline from one process: `python -m deployments.serve`."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
FLOW_NAME = "mbpo"


def deployments(package: str = "flows") -> list[RunnerDeployment]:
    """One deployment per entry of `<package>.pipeline.DEPLOYMENTS`, all of the same flow.

    The entry point is the module's name, not the file's path: with a path Prefect would put the
    folder first on `sys.path` and import a second copy of the module under its bare file name.
    """
    from prefect.flows import EntrypointType

    pipeline = importlib.import_module(f"{package}.pipeline")
    return [
        pipeline.mbpo.to_deployment(
            name=name,
            parameters=dict(parameters),
            tags=[FLOW_NAME],
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        for name, parameters in pipeline.DEPLOYMENTS.items()
    ]


def serve(package: str = "flows", ready: Path | None = None) -> None:
    """Register the deployments, write this process's id to `ready`, then start runs until SIGTERM.

    Runs are taken one at a time: two would share the same devices and cores, and each would only
    take longer. A second one waits as Scheduled.
    """
    from prefect.exceptions import TerminationSignal
    from prefect.runner import Runner

    # Not paused on the way out: a paused deployment stays so, and its next run would wait for ever.
    runner = Runner(name=FLOW_NAME, query_seconds=POLL_SECONDS, limit=1, pause_on_shutdown=False)
    for deployment in deployments(package):
        runner.add_deployment(deployment)
        logger.info("serving %s/%s", FLOW_NAME, deployment.name)
    if ready is not None:
        ready.write_text(str(os.getpid()))
    try:
        asyncio.run(runner.start())
    except (KeyboardInterrupt, TerminationSignal):
        logger.info("asked to end")


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", default="flows", help="package with pipeline.py")
    parser.add_argument("--ready", type=Path, help="file that gets the pid once registered")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line per look at the server
    serve(arguments.package, arguments.ready)


if __name__ == "__main__":
    main()
