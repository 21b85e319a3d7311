"""Long-lived worker processes, one per device, driven from threads of the flow."""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from tasks.nursery import Forked, Nursery
from tasks.runtime import Runtime

logger = logging.getLogger(__name__)
Note = Callable[[str], None]
PROJECT = Path(__file__).parents[1]
WORKER = "tasks.worker"


class ShardFailedError(RuntimeError):
    """A worker reported an error."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient
        """Whether the same shard may succeed at another try."""


class WorkerDiedError(RuntimeError):
    """A worker ended without an answer."""


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
                        env=_environment(),
                    )
        return self.process

    def _fork(self, log: int) -> Forked:
        try:
            return self._nursery.fork(self.device, log)
        except ConnectionError as error:
            end = _tail(self._nursery.log)
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
                f"{request['stage']}; the end of its log {self.log}:\n{_tail(self.log)}"
            )
        answer = json.loads(line)
        if answer.get("mendable"):
            raise ShardFailedError(f"{request['stage']}: {answer['error']}")
        if "error" in answer:
            raise ShardFailedError(
                f"shard {request['shard']} of {request['stage']}: {answer['error']}\n"
                f"(traceback in {self.log})",
                transient=answer["transient"],
            )
        return answer["facts"]

    def stop(self) -> None:
        """End the process and give its memory back."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout):
                if stream is not None:
                    stream.close()
            self.process = None


class WorkerPool:
    """The workers of one run. Use as a context manager: none survives it."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        logs = runtime.root.absolute() / "logs"
        self._nursery = Nursery(WORKER, _environment(), logs / "nursery.log")
        self.workers = [
            Worker(device, logs / f"worker-{n}.log", runtime.shard_timeout_seconds, self._nursery)
            for n, device in enumerate(runtime.slots())
        ]
        self._closed = False
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self.workers:
            self._idle.put(worker)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def _close(self) -> None:
        """End all workers for good: who waits for one is told so."""
        self._closed = True
        self.release()
        self._nursery.close()

    def run(
        self, request: dict[str, Any], shard: int, note: Note = lambda text: None
    ) -> dict[str, Any]:
        """Compute a shard on the next idle worker; raises ShardFailedError or WorkerDiedError."""
        worker = self._idle.get()
        try:
            if self._closed:
                raise WorkerDiedError("the pool is closed: its run has ended")
            return worker.ask(request | {"shard": shard}, note)
        finally:
            self._idle.put(worker)

    def release(self) -> None:
        """End all workers, and with them the models that they hold."""
        for worker in self.workers:
            worker.stop()

    def run_all(
        self,
        request: dict[str, Any],
        shards: Sequence[int],
        done: Callable[[dict[str, Any]], None],
        note: Note = lambda text: None,
    ) -> None:
        """Compute shards side by side, each tried again as the runtime says.

        All shards are given their chance before the first failure is raised. Where the caller is
        interrupted (Ctrl-C), nothing more is begun and the workers are ended.
        """

        def attempt(shard: int) -> None:
            for again in range(self.runtime.retries, -1, -1):
                try:
                    return done(self.run(request, shard, note))
                except (ShardFailedError, WorkerDiedError) as error:
                    lasting = isinstance(error, ShardFailedError) and not error.transient
                    if lasting or not again or self._closed:
                        raise
                    logger.warning("%s\ntrying shard %d again", error, shard)

        threads = ThreadPoolExecutor(len(self.workers))
        futures = [threads.submit(attempt, shard) for shard in shards]
        try:
            wait(futures)
        except BaseException:
            self._close()
            raise
        finally:
            threads.shutdown(cancel_futures=True)
        for future in futures:
            future.result()


def _environment() -> dict[str, str]:
    """Return the environment of workers; the project is found from any folder."""
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}


def _tail(path: Path, lines: int = 15) -> str:
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return "\n".join(text.splitlines()[-lines:])
