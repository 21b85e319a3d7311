"""Shards in the run's own process, one after the other: nothing is started, nothing can be killed.

For debuggers, and for machines on which a second process would not fit. An error in native code
ends the run, and a shard that never ends is not noticed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from tasks.models import forget_policy
from tasks.runtime import Runtime
from tasks.samplers import forget_sampler
from tasks.shard_pool import (
    Note,
    ShardFailedError,
    ShardPool,
    WorkerDiedError,
    facts_of,
    runs_model,
)
from tasks.worker import answer


class LocalPool(ShardPool):
    """One worker, which is this process."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self._device = runtime.slots()[0]
        self._turn = threading.Lock()

    def run(
        self, request: dict[str, Any], shard: int, note: Note = lambda text: None
    ) -> dict[str, Any]:
        """Compute a shard when it is its turn; raises ShardFailedError."""
        device = self._device if runs_model(request) else "cpu"
        asked = request | {"shard": shard}
        with self._turn, _one_thread():
            if self.closed:
                raise WorkerDiedError("the pool is closed: its run has ended")
            try:
                reply = answer(asked, device, note)
            except torch.AcceleratorError as error:  # no fresh process can try again
                raise ShardFailedError(f"shard {shard} of {request['stage']}: {error}") from error
        return facts_of(reply, asked, None)

    def width(self, request: dict[str, Any]) -> int:
        """One at a time."""
        return 1

    def release(self) -> None:
        """Let go of the models that this process holds, and of a sampler's process."""
        forget_policy()
        forget_sampler()
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _end(self) -> None:
        """Let go of the model when the shard in work has ended; no other begins."""
        with self._turn:
            self.release()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute as workers do: on one thread, whatever else this process does on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
