"""Shards on a real Ray cluster of two nodes: the same bytes, also when workers and nodes die."""

import logging
import os
import shutil
import signal
import threading

import pytest

from tasks.pipeline import Choice, run_pipeline
from tasks.ray_pool import RayPool
from tasks.shard_pool import ShardFailedError, WorkerDiedError
from tests.pipelines import run, runtime, small_recipe
from tests.ray_clusters import SHARDED, two_nodes

RECIPE = small_recipe(mine__shard_rows=1, mine__steps=20)
"""Shards of the attack that take long enough for something to happen in their middle."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with two_nodes(tmp_path_factory.mktemp("ray"), num_gpus=2) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The store of a run in this process, and what the sharded stages made."""
    root = tmp_path_factory.mktemp("local") / "store"
    made = run(RECIPE, runtime(root, runner="local"))
    return root, {stage: made[stage].ref for stage in SHARDED}


@pytest.fixture
def root(local, tmp_path):
    """A copy of that store, in which the sharded stages are computed again."""
    return shutil.copytree(local[0], tmp_path / "store")


def again(pool, how=None, stages=SHARDED, **options):
    """Compute stages anew; return the artifacts of the sharded ones."""
    choice = Choice(only=stages, refresh=stages)
    made = run_pipeline(RECIPE, how or pool.runtime, choice, pool, **options)
    return {stage: made[stage].ref for stage in SHARDED if stage in made}


def in_mine(act):
    """Return a `progress` that acts once, while the cluster is at the attack."""
    waiting = [act]

    def progress(stage, done, planned):
        if stage == "mine" and done == 2 and waiting:
            waiting.pop()()

    return progress


class Recording(RayPool):
    """Writes down which worker was asked for what."""

    def __init__(self, how):
        super().__init__(how)
        self.asked = []
        self.dies_in = []
        """Stages in each of which one worker is killed while it has a shard."""

    def _ask(self, member, asked, note):
        self.asked.append((asked["stage"], member))
        if asked["stage"] in self.dies_in:
            self.dies_in.remove(asked["stage"])
            os.kill(member.pid, signal.SIGSTOP)  # it cannot be done before it is killed
            threading.Timer(0.5, os.kill, (member.pid, signal.SIGKILL)).start()
        return super()._ask(member, asked, note)

    def workers(self, *stages):
        return {member.pid: member for stage, member in self.asked if stage in stages}


def test_workers_of_gpus_keep_their_model_and_other_stages_take_no_gpu(cluster, local, root):
    """The GPUs are made up, and so computed for on CPUs; Ray hands them out like real ones."""
    with Recording(runtime(root, 1, runner="ray", ray_gpus=2)) as pool:
        assert again(pool, stages=("ingest", "score", "select", "mine")).items() <= local[1].items()
        on_gpus, on_cpus = pool.workers("score", "mine"), pool.workers("ingest", "select")
        assert sorted(worker.gpus for worker in on_gpus.values()) == ["0", "1"]
        assert [worker.gpus for worker in on_cpus.values()] == [""]
        assert [worker.log.read_text().count("loading") for worker in on_gpus.values()] == [1, 1]
        pool.release()  # as training does: the GPUs are free, the workers on CPUs stay
        assert again(pool, stages=("ingest", "score")).items() <= local[1].items()
        assert not set(on_gpus) & set(list(pool.workers("score"))[-1:])
        assert pool.workers("ingest").keys() == on_cpus.keys()


@pytest.fixture
def pool(cluster, root):
    with Recording(runtime(root, 2, runner="ray")) as opened:
        yield opened


def test_artifacts_are_those_of_local_also_when_a_worker_is_killed(pool, local, caplog):
    pool.dies_in.append("mine")
    with caplog.at_level(logging.WARNING):
        assert again(pool) == local[1]
    assert "died in shard" in caplog.text and "again" in caplog.text
    assert len(pool.groups["model"].actors) == 2, "nothing took the place of the one killed"

    failing = pool.runtime.model_copy(update={"fail": "mine/1"})
    with pytest.raises(ShardFailedError, match=r"shard 1 of mine: RuntimeError.*\n.*ray-worker-"):
        again(pool, failing, stages=("mine",))
    request = {"stage": "mine", "root": "/nowhere", "key": "0" * 24, "inputs": {}}
    with pytest.raises(ShardFailedError, match=r"mine: .* node .* does not see the store /nowhere"):
        pool.run(request, 0)
    pool.close()
    with pytest.raises(WorkerDiedError, match="closed"):
        pool.run(request, 0)


def test_artifacts_are_those_of_local_when_a_node_is_killed(pool, local, cluster, caplog):
    whole, second = cluster
    kill = in_mine(lambda: whole.remove_node(second, allow_graceful=False))
    with caplog.at_level(logging.WARNING):
        assert again(pool, progress=kill) == local[1]
    assert "again" in caplog.text
