"""Which workers a run has: in its own process, on devices, and on CPUs beside GPUs."""

import os
import threading
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError

from tasks import samplers
from tasks.local_pool import LocalPool
from tasks.materialise import materialise
from tasks.models import open_policy
from tasks.pool import WorkerPool
from tasks.registry import STAGES
from tasks.runners import open_pool
from tasks.runtime import Runtime
from tasks.shard_pool import ShardFailedError, WorkerDiedError
from tests.pipelines import run, runtime, small_recipe

DEVICES = ("made_up:0", "made_up:1")


class Asked(WorkerPool):
    """Notes which worker is asked instead of asking it."""

    def __init__(self, how):
        super().__init__(how)
        self.devices = []
        for worker in self.workers:
            worker.ask = lambda request, note, worker=worker: self.devices.append(worker.device)


def test_beside_gpus_stages_without_a_model_have_workers_on_the_cpu(tmp_path):
    with Asked(Runtime(root=tmp_path, devices=DEVICES, workers=3)) as pool:
        assert [worker.device for worker in pool.workers] == [*DEVICES, "cpu", "cpu", "cpu"]
        assert pool.width({"runs_model": True}) == 2 and pool.width({"runs_model": False}) == 3
        pool.run_all({"runs_model": False}, range(5), lambda facts: None)
        assert pool.devices == ["cpu"] * 5
        pool.devices.clear()
        pool.run_all({"runs_model": True}, range(5), lambda facts: None)
        assert set(pool.devices) <= set(DEVICES) and len(pool.devices) == 5


def test_all_workers_of_gpus_may_be_busy_and_pictures_are_decoded_all_the_same(tmp_path):
    with Asked(Runtime(root=tmp_path, devices=DEVICES[:1], workers=1)) as pool:
        begun, go = threading.Event(), threading.Event()

        def busy(request, note):
            begun.set()
            assert go.wait(10)

        pool.workers[0].ask = busy
        thread = threading.Thread(target=pool.run, args=({"runs_model": True}, 0))
        thread.start()
        assert begun.wait(10)
        pool.run({"runs_model": False}, 0)
        go.set()
        thread.join()
        assert pool.devices == ["cpu"]


def test_without_gpus_the_workers_on_the_cpu_do_all(tmp_path):
    with Asked(Runtime(root=tmp_path, devices=("cpu",), workers=2)) as pool:
        assert len(pool.workers) == 2 and pool.runtime.decoders() == 0
        for runs_model in (True, False):
            assert pool.width({"runs_model": runs_model}) == 2
            pool.run({"runs_model": runs_model}, 0)
    assert Runtime(devices=DEVICES).decoders() == os.cpu_count()


@pytest.mark.parametrize("stage", ["ingest", "score", "select", "mine", "train", "evaluate"])
def test_requests_say_whether_a_model_runs(stage, finished, monkeypatch):
    root, recipe, made = finished
    told = []
    how, inputs = runtime(root), {name: made[name].ref for name in STAGES[stage].upstream(recipe)}

    def tell(request, shards, done, note):
        told.append(request)
        raise KeyboardInterrupt

    with LocalPool(how) as pool, pytest.raises(KeyboardInterrupt):
        materialise(STAGES[stage], recipe, how, inputs, pool, "run", refresh=True, run_shards=tell)
    assert told[0]["runs_model"] == (stage in ("score", "mine", "train"))
    assert told[0]["exclusive"] == (stage == "train")


def test_local_makes_the_bytes_of_the_worker_processes(finished, tmp_path):
    _, recipe, made = finished
    threads = torch.get_num_threads()
    again = run(recipe, runtime(tmp_path, runner="local"))
    assert {name: each.ref for name, each in again.items()} == {
        name: each.ref for name, each in made.items()
    }
    assert torch.get_num_threads() == threads


def test_local_reports_failures_as_worker_processes_do_and_forgets_its_model(tmp_path, monkeypatch):
    ended = []
    engine = SimpleNamespace(close=lambda: ended.append("vllm"))
    with open_pool(runtime(tmp_path, runner="local")) as pool:
        assert isinstance(pool, LocalPool)
        with pytest.raises(ShardFailedError, match=r"^shard 3 of nope: KeyError: 'recipe'$"):
            pool.run({"stage": "nope"}, 3)
        policy = open_policy(small_recipe().policy, "cpu")
        assert open_policy(small_recipe().policy, "cpu") is policy
        monkeypatch.setitem(samplers._held, ("engine",), engine)
        pool.release()
        assert open_policy(small_recipe().policy, "cpu") is not policy and ended == ["vllm"]
    with pytest.raises(WorkerDiedError, match="closed"):
        pool.run({"stage": "nope"}, 3)


def test_ray_assigns_gpus_itself(tmp_path):
    with pytest.raises(ValidationError, match="which GPU a worker has, Ray decides"):
        Runtime(root=tmp_path, runner="ray", devices=("cuda:1",))
    assert Runtime(runner="ray", devices=("cpu",)).ray_address is None
