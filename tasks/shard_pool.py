"""What computes the shards of a run, whichever way: the errors, and what all pools share."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Self

from tasks.runtime import Runtime

logger = logging.getLogger(__name__)
Note = Callable[[str], None]


class ShardFailedError(RuntimeError):
    """A worker reported an error."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient
        """Whether the same shard may succeed at another try."""


class WorkerDiedError(RuntimeError):
    """A worker ended without an answer."""


def facts_of(answer: dict[str, Any], request: dict[str, Any], log: Path | None) -> dict[str, Any]:
    """Return the facts in a worker's answer (`tasks.worker.answer`) to a request.

    Raises ShardFailedError where it tells of an error; `log` has the traceback.
    """
    if answer.get("mendable"):
        raise ShardFailedError(f"{request['stage']}: {answer['error']}")
    if "error" in answer:
        where = f"\n(traceback in {log})" if log else ""
        raise ShardFailedError(
            f"shard {request['shard']} of {request['stage']}: {answer['error']}{where}",
            transient=answer["transient"],
        )
    return answer["facts"]


def tail(path: Path, lines: int = 15) -> str:
    """Return the end of a log."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return "\n".join(text.splitlines()[-lines:])


class ShardPool(ABC):
    """The workers of one run. Use as a context manager: none survives it."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @abstractmethod
    def run(
        self, request: dict[str, Any], shard: int, note: Note = lambda text: None
    ) -> dict[str, Any]:
        """Compute a shard on the next idle worker; raises ShardFailedError or WorkerDiedError.

        Called from any number of threads.
        """

    @abstractmethod
    def width(self, request: dict[str, Any]) -> int:
        """Return how many shards of a request are computed side by side at most."""

    @abstractmethod
    def release(self) -> None:
        """Give back the memory of all models that are loaded; nothing may be at work."""

    def close(self) -> None:
        """End all workers for good, whatever they do: who waits for one is told so."""
        if not self.closed:
            self.closed = True
            self._end()

    @abstractmethod
    def _end(self) -> None:
        """End all workers; `closed` is set, and not taken back."""

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
                    if not worth_another_try(error) or not again or self.closed:
                        raise
                    logger.warning("%s\ntrying shard %d again", error, shard)

        threads = ThreadPoolExecutor(min(self.width(request), max(1, len(shards))))
        futures = [threads.submit(attempt, shard) for shard in shards]
        try:
            wait(futures)
        except BaseException:
            self.close()
            raise
        finally:
            threads.shutdown(cancel_futures=True)
        for future in futures:
            future.result()


def worth_another_try(error: object) -> bool:
    """Say whether a shard that ended so may succeed at another try: a bug only fails again."""
    return isinstance(error, WorkerDiedError) or getattr(error, "transient", False)


def runs_model(request: dict[str, Any]) -> bool:
    """Say whether the shards of a request run a model, which belongs on a GPU if there is one."""
    return request.get("runs_model", True)
