"""Workers on a Ray cluster: one actor a GPU, and actors on CPUs for stages without a model.

An actor is a process that Ray places, starts with its GPU and never shares. It keeps the model
between shards and stages. One that died, with its node or alone, is replaced wherever the cluster
has room; its shard goes to whichever worker is idle next.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.store import ArtifactStore
from tasks import ray_cluster
from tasks.ray_worker import RayWorker
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

logger = logging.getLogger(__name__)
NOTE_SECONDS = 1.0
"""How often a long shard is asked what it is at."""
PATIENCE_SECONDS = 60.0
"""How often a wait for a worker is reported."""
START_TRIES = 3
VISIBLE_SECONDS = 90.0
"""Network file systems show what another node wrote after up to a minute."""


@dataclass(frozen=True)
class Member:
    """A worker that has said where it is."""

    actor: Any
    node: str
    pid: int
    gpus: str
    log: Path


@dataclass
class Group:
    """Workers of one kind."""

    size: int
    device: str
    options: dict[str, Any]
    """What each takes from the cluster."""
    idle: queue.LifoQueue[Any] = field(default_factory=queue.LifoQueue)
    """Members, the errors of those that could not start, and None once the pool is closed."""
    actors: list[Any] = field(default_factory=list)
    """All that were started and have not ended, also those that wait for room in the cluster."""
    failed_starts: int = 0
    """In a row; a node that is lost is taken for alive for some seconds, and given workers."""

    @property
    def takes(self) -> dict[str, Any]:
        """What of its options the cluster must have room for."""
        return {name: self.options[name] for name in ("num_cpus", "num_gpus")
                if name in self.options}  # fmt: skip


class RayPool(ShardPool):
    """The workers of one run on a Ray cluster."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self._owns_ray = ray_cluster.join(runtime)
        self._ray = ray_cluster.ray_module()
        self._lock = threading.Lock()
        self.groups = _groups(runtime)

    def run(
        self, request: dict[str, Any], shard: int, note: Note = lambda text: None
    ) -> dict[str, Any]:
        """Compute a shard on the next idle worker; raises ShardFailedError or WorkerDiedError."""
        asked = request | {"shard": shard}
        group = self._group(request)
        member = self._take(group)
        try:
            reply = self._ask(member, asked, note)
        except self._ray.exceptions.RayError as error:
            self._drop(group, member.actor)
            raise WorkerDiedError(
                f"the worker on node {member.node} died in shard {shard} of {request['stage']}: "
                f"{_first_line(error)}; the end of its log {member.log}:\n{tail(member.log)}"
            ) from error
        group.idle.put(member)
        facts = facts_of(reply, asked, member.log)
        self._await_shard(asked, member)
        return facts

    def width(self, request: dict[str, Any]) -> int:
        """Return how many workers there may be for it."""
        return self._group(request).size

    def release(self) -> None:
        """End the workers that hold GPUs; on CPUs it is enough that they forget their models."""
        for group in self._kinds():
            if "num_gpus" in group.options:
                self._dismiss(group)
            else:
                for actor in group.actors:
                    actor.forget.remote()

    def _end(self) -> None:
        """End all workers; a Ray that was started for this run ends too."""
        for group in self._kinds():
            group.idle.put(None)
            self._dismiss(group)
        if self._owns_ray:
            self._ray.shutdown()

    def _kinds(self) -> list[Group]:
        return list({id(group): group for group in self.groups.values()}.values())

    def _dismiss(self, group: Group) -> None:
        with self._lock:
            actors, group.actors = group.actors, []
            group.idle = queue.LifoQueue()
        for actor in actors:
            self._ray.kill(actor)

    def _group(self, request: dict[str, Any]) -> Group:
        if request.get("exclusive") and self.runtime.train_launcher:
            return self.groups["node"]
        return self.groups["model" if runs_model(request) else "cpu"]

    def _take(self, group: Group) -> Member:
        """Return an idle worker that lives; starts one where none is idle and there is room."""
        idle = group.idle
        while not self.closed:
            if idle.empty():
                self._start(group)
            try:
                found = idle.get(timeout=PATIENCE_SECONDS)
            except queue.Empty:
                logger.warning("waiting for a worker with %s; the cluster has free: %s",
                               group.takes, self._ray.available_resources())  # fmt: skip
                continue
            if found is None:
                idle.put(None)  # for the next one who waits
            elif isinstance(found, Exception):
                group.failed_starts += 1
                if group.failed_starts > START_TRIES:
                    raise WorkerDiedError(f"no worker can be started: {found}") from found
            elif self._lives(found):
                return found
            else:
                self._drop(group, found.actor)
        raise WorkerDiedError("the pool is closed: its run has ended")

    def _start(self, group: Group) -> None:
        with self._lock:
            if self.closed or len(group.actors) >= group.size:
                return
            name = f"ray-worker-{uuid.uuid4().hex[:8]}"
            actor = self._ray.remote(RayWorker).options(**group.options).remote(
                group.device, str(self.runtime.root.absolute()), str(Path.cwd()), name
            )  # fmt: skip
            group.actors.append(actor)
        threading.Thread(target=self._welcome, args=(group, group.idle, actor), daemon=True).start()

    def _welcome(self, group: Group, idle: queue.LifoQueue[Any], actor: Any) -> None:
        """Wait until the cluster had room for a worker and it has started."""
        try:
            where = self._ray.get(actor.where.remote())
            log = Path(where.pop("log"))
            group.failed_starts = 0
            idle.put(Member(actor, log=log, **where))
            logger.info("a worker with %s: %s", group.takes, where)
        except Exception as error:  # whoever waits for a worker hears of it
            if self._drop(group, actor):
                idle.put(error)

    def _drop(self, group: Group, actor: Any) -> bool:
        """Give up a worker; False if it was given up before."""
        self._ray.kill(actor)  # one that only cannot be reached would keep its GPU
        with self._lock:
            if known := actor in group.actors:
                group.actors.remove(actor)
        return known

    def _lives(self, member: Member) -> bool:
        try:
            self._ray.get(member.actor.said.remote())
        except self._ray.exceptions.RayError:
            return False
        return True

    def _ask(self, member: Member, asked: dict[str, Any], note: Note) -> dict[str, Any]:
        reference = member.actor.compute.remote(asked)
        deadline = time.monotonic() + self.runtime.shard_timeout_seconds
        while not self._ray.wait([reference], timeout=NOTE_SECONDS)[0]:
            if time.monotonic() > deadline:
                self._ray.kill(member.actor)
            elif text := self._ray.get(member.actor.said.remote()):
                note(text)
        return self._ray.get(reference)

    def _await_shard(self, asked: dict[str, Any], member: Member) -> None:
        store, deadline = ArtifactStore(Path(asked["root"])), time.monotonic() + VISIBLE_SECONDS
        while store.missing_shards(asked["stage"], asked["key"], [asked["shard"]]):
            if time.monotonic() > deadline:
                raise ShardFailedError(
                    f"shard {asked['shard']} of {asked['stage']} was computed on node "
                    f"{member.node}, but it is not to be seen in {store.root} here; "
                    "all nodes must share that folder"
                )
            time.sleep(0.5)


def _groups(runtime: Runtime) -> dict[str, Group]:
    """Return the kinds of workers: for models, for stages without one, for a whole node."""
    # Two threads: one computes, the other says how far it is.
    each = {"max_concurrency": 2, "runtime_env": ray_cluster.project_environment()}
    unseen = {"runtime_env": ray_cluster.project_environment(CUDA_VISIBLE_DEVICES="")}
    cpus, gpus = ray_cluster.resources("CPU"), ray_cluster.resources("GPU")
    on_cpu = Group(
        runtime.workers or max(1, int(sum(cpus))), "cpu",
        {"num_cpus": 1, "scheduling_strategy": "SPREAD", **each, **unseen},
    )  # fmt: skip
    asked_cpu = runtime.devices == ("cpu",)
    count = runtime.ray_gpus or (0 if asked_cpu else int(sum(gpus)))
    if not count:
        return {"cpu": on_cpu, "model": on_cpu, "node": on_cpu}
    device = "cpu" if asked_cpu else "cuda:0"  # Ray leaves each process its own GPUs to see
    # They take no CPU: workers on CPUs stay between stages and must not keep GPUs from use.
    model = Group(count, device, {"num_gpus": 1, "num_cpus": 0, **each})
    whole = max(1, int(max(gpus, default=1)))
    return {
        "cpu": on_cpu,
        "model": model,
        "node": Group(1, device, {"num_gpus": whole, "num_cpus": 0, **each}),
    }


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
