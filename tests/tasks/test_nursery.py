"""Forks of one process that has imported everything; with a module that takes no time to import."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tasks.nursery import Nursery

MODULE = """
import os, sys, time
print("imported", os.getpid(), file=sys.stderr, flush=True)
def main(argument):
    print(argument, os.getpid(), os.getppid(), flush=True)
    print("to the log of", argument, file=sys.stderr, flush=True)
    for line in sys.stdin:
        if line == "raise\\n":
            raise RuntimeError("as asked")
        print("heard", line, end="", flush=True)
"""


@pytest.fixture
def nursery(tmp_path):
    (tmp_path / "toy_worker.py").write_text(MODULE)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    made = Nursery("toy_worker", os.environ | {"PYTHONPATH": path}, tmp_path / "nursery.log")
    yield made
    made.close()


def fork(nursery, argument="cpu"):
    """Return a fork and what it said first: its argument, its id and its parent's."""
    with (nursery.log.parent / f"{argument}.log").open("ab") as log:
        child = nursery.fork(argument, log.fileno())
    return child, child.stdout.readline().split()


def end(child):
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()


def test_forks_share_one_import_and_have_their_own_pipes_and_logs(nursery):
    (one, said_one), (two, said_two) = fork(nursery, "one"), fork(nursery, "two")
    assert said_one[:2] == ["one", str(one.pid)] and said_two[:2] == ["two", str(two.pid)]
    assert said_one[2] == said_two[2] != str(os.getpid())
    two.stdin.write("hello\n")
    two.stdin.flush()
    assert two.stdout.readline() == "heard hello\n"
    assert one.poll() is None and two.poll() is None
    for child in (one, two):
        child.stdin.close()  # the end of its input ends it: nobody else holds that pipe
        assert child.wait() == 0
        child.stdout.close()
    assert nursery.log.read_text().count("imported") == 1
    assert (nursery.log.parent / "one.log").read_text() == "to the log of one\n"


def test_exit_codes_are_told_as_popen_tells_them(nursery):
    killed, _ = fork(nursery, "killed")
    killed.kill()
    assert killed.wait() == -signal.SIGKILL == killed.poll()
    failed, _ = fork(nursery, "failed")
    failed.stdin.write("raise\n")
    failed.stdin.flush()
    assert failed.stdout.readline() == "" and failed.wait() == 1
    assert "RuntimeError: as asked" in (nursery.log.parent / "failed.log").read_text()
    for child in (killed, failed):
        end(child)


def test_a_nursery_that_was_killed_is_replaced_and_its_forks_end(nursery):
    child, (_, _, parent) = fork(nursery)
    os.kill(int(parent), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert child.returncode == -signal.SIGKILL
    end(child)
    again, (_, _, other) = fork(nursery)
    assert other != parent
    end(again)


def test_a_module_that_cannot_be_imported_says_so_in_the_log(tmp_path):
    nursery = Nursery("no_such_module", dict(os.environ), tmp_path / "nursery.log")
    with (tmp_path / "child.log").open("wb") as log, pytest.raises(ConnectionError):
        nursery.fork("cpu", log.fileno())
    nursery.close()
    assert "No module named 'no_such_module'" in nursery.log.read_text()


def test_closing_ends_the_nursery(nursery):
    child, (_, _, parent) = fork(nursery)
    end(child)
    nursery.close()
    assert not Path(f"/proc/{parent}").exists() or sys.platform != "linux"
