"""Long-lived worker processes, one per device, driven from threads of the flow.

On a machine with GPUs, workers on the CPU stand beside theirs for stages without a model: decoding
pictures neither waits for a GPU nor has as many processes as there are GPUs.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tasks.nursery import Forked, Nursery
from tasks.runtime import Runtime
from tasks.shard_pool import (
    Note,
    ShardFailedError,
    ShardPool,
    WorkerDiedError,
    facts_of,
    runs_model,
    tail,
)

__all__ = ["ShardFailedError", "WorkerDiedError", "WorkerPool"]
PROJECT = Path(__file__).parents[1]
WORKER = "tasks.worker"


class Worker:
    """One process on one device; started at the first shard, and again after its death."""

    def __init__(self, device: str, log: Path, timeout: float, nursery: Nursery) -> None:
        self.device = device
        self.log = log
        self.timeout = timeout
        self.process: subprocess.Popen[str] | Forked | None = None
        self._nursery = nursery

    def start(self) -> subprocess.Popen[str] | Forked:
        """Return the running process."""
        if self.process is not None and self.process.poll() is not None:
            self.stop()
        if self.process is None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                if self.device == "cpu":
                    self.process = self._fork(log.fileno())
                else:  # a library that wakes the driver at import would spoil it for a fork
                    self.process = subprocess.Popen(
                        [sys.executable, "-m", WORKER, self.device],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        text=True,
                        env=environment(),
                    )
        return self.process

    def _fork(self, log: int) -> Forked:
        try:
            return self._nursery.fork(self.device, log)
        except ConnectionError as error:
            end = tail(self._nursery.log)
            raise WorkerDiedError(f"no worker can be started: {error}\n{end}") from error

    def ask(self, request: dict[str, Any], note: Note) -> dict[str, Any]:
        """Send one request, pass on the notes, and wait for the answer."""
        process = self.start()
        assert process.stdin is not None and process.stdout is not None
        watchdog = threading.Timer(self.timeout, process.kill)
        watchdog.start()
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            while (line := process.stdout.readline()) and line.startswith('{"note"'):
                note(json.loads(line)["note"])
        except BrokenPipeError:
            line = ""
        finally:
            watchdog.cancel()
        if not line:
            code = process.wait()
            raise WorkerDiedError(
                f"the worker on {self.device} died (exit {code}) in shard {request['shard']} of "
                f"{request['stage']}; the end of its log {self.log}:\n{tail(self.log)}"
            )
        return facts_of(json.loads(line), request, self.log)

    def stop(self) -> None:
        """End the process and give its memory back."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout):
                if stream is not None:
                    stream.close()
            self.process = None


class WorkerPool(ShardPool):
    """One worker a device, and workers on the CPU beside those on GPUs."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        logs = runtime.root.absolute() / "logs"
        self._nursery = Nursery(WORKER, environment(), logs / "nursery.log")
        on_devices = runtime.slots()
        self.workers = [
            Worker(device, logs / f"worker-{n}.log", runtime.shard_timeout_seconds, self._nursery)
            for n, device in enumerate([*on_devices, *["cpu"] * runtime.decoders()])
        ]
        # The last one back is the first one out: no more of them start than are needed.
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in reversed(self.workers[: len(on_devices)]):
            self._idle.put(worker)
        self._decoders: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in reversed(self.workers[len(on_devices) :]):
            self._decoders.put(worker)

    def _end(self) -> None:
        """End all workers and the process that they come from."""
        self.release()
        self._nursery.close()

    def run(
        self, request: dict[str, Any], shard: int, note: Note = lambda text: None
    ) -> dict[str, Any]:
        """Compute a shard on the next idle worker; raises ShardFailedError or WorkerDiedError."""
        idle = self._idle if self._on_devices(request) else self._decoders
        worker = idle.get()
        try:
            if self.closed:
                raise WorkerDiedError("the pool is closed: its run has ended")
            return worker.ask(request | {"shard": shard}, note)
        finally:
            idle.put(worker)

    def width(self, request: dict[str, Any]) -> int:
        """Return how many workers there are for it."""
        decoders = self.runtime.decoders()
        return len(self.workers) - decoders if self._on_devices(request) else decoders

    def _on_devices(self, request: dict[str, Any]) -> bool:
        return runs_model(request) or not self.runtime.decoders()

    def release(self) -> None:
        """End all workers, and with them the models that they hold."""
        for worker in self.workers:
            worker.stop()


def environment() -> dict[str, str]:
    """Return the environment of workers; the project is found from any folder."""
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}
