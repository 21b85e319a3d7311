"""Ranks outlive neither the worker that wanted them nor the launcher that started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tasks.lifeline import let_go_of_ranks

REPOSITORY = Path(__file__).parents[2]
RANK = """
import os, sys, time
from pathlib import Path
from tasks.lifeline import end_with_parents
end_with_parents()
rank = Path(sys.argv[1]) / f"rank-{os.environ.get('RANK', '0')}"
rank.with_suffix(".partial").write_text(str(os.getpid()))
rank.with_suffix(".partial").rename(rank)
time.sleep(300)
"""
WORKER = """
import subprocess, sys, time
launcher = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE)
open(sys.argv[1], "w").write(f"{launcher.pid}\\n")
time.sleep(300)
"""
"""Starts a launcher as `tasks.train` does."""
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def started(folder, launcher, count):
    """Start a worker with a launcher and its ranks; return the three sorts of process ids."""
    script = folder / "rank.py"
    script.write_text(RANK)
    pid = folder / "launcher"
    command = [sys.executable, *launcher, str(script), str(folder)]
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(pid), *command],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    ranks = [folder / f"rank-{rank}" for rank in range(count)]
    wait_for(lambda: all(each.exists() for each in ranks), 120)
    return worker, int(pid.read_text()), [int(each.read_text()) for each in ranks]


def wait_for(condition, seconds):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def end(worker, *pids):
    for pid in pids:
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)
    worker.kill()
    worker.wait()


@pytest.mark.parametrize(
    ("launcher", "count"), [([], 1), (TORCHRUN, 2)], ids=["a process", "torchrun"]
)
def test_a_worker_that_is_killed_leaves_no_rank_and_no_launcher(tmp_path, launcher, count):
    worker, head, ranks = started(tmp_path, launcher, count)
    try:
        assert not any(map(gone, [head, *ranks]))
        os.kill(worker.pid, signal.SIGKILL)
        wait_for(lambda: all(map(gone, [head, *ranks])), 60)
    finally:
        end(worker, head, *ranks)


def test_a_launcher_that_is_killed_leaves_no_rank(tmp_path):
    worker, head, ranks = started(tmp_path, TORCHRUN, 2)
    try:
        os.kill(head, signal.SIGKILL)
        wait_for(lambda: all(map(gone, ranks)), 60)
        assert worker.poll() is None
    finally:
        end(worker, head, *ranks)


def test_a_rank_whose_standard_input_is_no_pipe_waits_for_its_parent_alone(tmp_path):
    """As where a launcher starts ranks on another machine."""
    script = tmp_path / "rank.py"
    script.write_text(RANK.replace("time.sleep(300)", "time.sleep(3)"))
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0


LATE = """
import time
time.sleep(1.5)  # as long as imports take
from tasks.lifeline import end_with_parents
end_with_parents()
time.sleep(300)
"""
LEAVES_ONE = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
print("started", flush=True)
time.sleep(300)
"""


def test_a_rank_that_only_imports_when_its_launcher_is_killed_ends_too():
    """Nobody would notice: its parent is another one by the time it looks."""
    with subprocess.Popen(
        [sys.executable, "-c", LEAVES_ONE, LATE], text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    ) as launcher:  # fmt: skip
        let_go_of_ranks(launcher)
        assert launcher.stdout.readline() == "started\n"
        launcher.kill()
        started_at = time.monotonic()
        assert launcher.stdout.read() == ""  # to its end, which the rank holds open
        assert time.monotonic() - started_at < 60
