"""The worker processes: real ones, killed for real."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from tasks.pool import ShardFailedError, WorkerDiedError, WorkerPool
from tasks.runtime import Runtime

PROJECT = Path(__file__).parents[2]


def runtime(tmp_path, **changes):
    return Runtime(root=tmp_path, devices=("cpu",), workers=1, **changes)


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def wait_until_gone(pid, seconds=10.0):
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def test_an_error_in_a_shard_is_reported_with_its_trace_and_the_worker_lives_on(tmp_path):
    with WorkerPool(runtime(tmp_path)) as pool:
        for _ in range(2):
            with pytest.raises(ShardFailedError, match=r"shard 3 of nope.*KeyError"):
                pool.run({"stage": "nope"}, 3)
        assert pool.workers[0].process.poll() is None


def test_a_killed_worker_costs_one_shard_and_is_started_again(tmp_path):
    with WorkerPool(runtime(tmp_path)) as pool:
        process = pool.workers[0].start()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with pytest.raises(ShardFailedError, match="KeyError"):
            pool.run({"stage": "nope"}, 0)  # a fresh process answers
        again = pool.workers[0].process
        assert again.pid != process.pid
        os.kill(again.pid, signal.SIGSTOP)
        pool.workers[0].timeout = 0.3  # silent for too long: killed
        with pytest.raises(WorkerDiedError, match="worker on cpu died"):
            pool.run({"stage": "nope"}, 0)
    assert pool.workers[0].process is None


def test_retries_give_every_shard_its_chance_before_the_failure_is_raised(tmp_path):
    asked = []

    class Counting(WorkerPool):
        def run(self, request, shard, note):
            asked.append(shard)
            if shard == 1:
                raise WorkerDiedError("always")
            if shard == 3:
                raise ShardFailedError("a bug")
            return {"shard": shard}

    done = []
    with Counting(runtime(tmp_path, retries=2)) as pool, pytest.raises(WorkerDiedError):
        pool.run_all({"stage": "x"}, [0, 1, 2, 3], done.append)
    assert sorted(asked) == [0, 1, 1, 1, 2, 3], "only a dead worker's shard is tried again"
    assert sorted(facts["shard"] for facts in done) == [0, 2]


def test_no_worker_survives_a_parent_that_is_killed(tmp_path):
    code = """
        import sys, time
        from tasks.pool import WorkerPool
        from tasks.runtime import Runtime
        pool = WorkerPool(Runtime(root=sys.argv[1], devices=("cpu",), workers=2))
        print(*[worker.start().pid for worker in pool.workers], flush=True)
        time.sleep(600)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        stdout=subprocess.PIPE, text=True, cwd=PROJECT,
    )  # fmt: skip
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2 and all(map(alive, pids))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert all(map(wait_until_gone, pids)), "workers survived their parent"


@pytest.fixture
def interrupts():
    """SIGINT as Python has it from the start, whatever a library made of it in this process."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_the_workers_and_begins_nothing_more(tmp_path, monkeypatch, interrupts):
    monkeypatch.setattr("tasks.pool.WORKER", "tests.tasks.sleepy_worker")
    begun, done = tmp_path / "begun", []
    threading.Timer(1.0, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)).start()
    with WorkerPool(runtime(tmp_path)) as pool:
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            pool.run_all({"stage": "any", "begun": str(begun)}, range(60), done.append)
        assert time.monotonic() - started < 8  # 60 shards would take 12 seconds
        assert pool.workers[0].process is None
        count = len(begun.read_text().split())
        time.sleep(0.5)
        assert len(done) <= len(begun.read_text().split()) == count < 30
