"""A worker on a Ray cluster: an actor, so that one process keeps its GPU and its model.

Plain Ray tasks would not do: for those that take a GPU Ray ends the process after each, because a
process that is used again may be given another GPU than the one that its context is on.
"""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import Any


class RayWorker:
    """Computes shards on the device that Ray gave it, one at a time.

    Whoever starts one imports this module alone; the stages and PyTorch are imported where it is.
    """

    def __init__(self, device: str, root: str, folder: str, name: str) -> None:
        if Path(folder).is_dir():
            os.chdir(folder)  # names in a recipe are relative to where the run was started
        self._device = device
        self._said = ""
        self._log = Path(root) / "logs" / f"{name}.log"
        if Path(root).is_dir():  # else every request is answered with what is wrong
            self._log.parent.mkdir(exist_ok=True)
            logging.basicConfig(
                level=logging.INFO, format="%(asctime)s %(name)s %(message)s",
                handlers=[logging.FileHandler(self._log)], force=True,
            )  # fmt: skip
        from tasks import ray_compute

        self._compute = ray_compute

    def where(self) -> dict[str, Any]:
        """Return where it is and what it may use."""
        return {
            "node": _node(),
            "pid": os.getpid(),
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
            "log": str(self._log),
        }

    def compute(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request, as `tasks.worker.answer` does."""
        self._said = ""
        return self._compute.answer_here(request, self._device, _node(), self._hear)

    def said(self) -> str:
        """Return the newest note on the shard in work; called beside `compute`."""
        return self._said

    def forget(self) -> None:
        """Let go of the model."""
        self._compute.forget_policy()
        self._compute.forget_sampler()

    def _hear(self, text: str) -> None:
        self._said = text


def _node() -> str:
    import ray

    return f"{socket.gethostname()} ({ray.get_runtime_context().get_node_id()[:8]})"
