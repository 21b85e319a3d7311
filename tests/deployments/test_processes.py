"""Processes are found again by pid and start, and never mistaken for others."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deployments import processes
from deployments.home import MARKER, Home, configured_port
from deployments.local import LaunchError, alone, clear
from deployments.processes import ChildDied, leftovers, recall, spawn, stop
from tests.servers import wait_until


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home", 1)
    home.create()
    return home


def test_a_reused_pid_is_not_ours(home: Home) -> None:
    record = home.folder / "server.process.json"
    started = psutil.Process().create_time() - 3600
    record.write_text(json.dumps({"pid": os.getpid(), "started": started, "port": 1}))
    assert recall(home, "server") is None
    assert not record.exists()
    record.write_text(json.dumps({"pid": os.getpid(), "started": started, "port": 1}))
    assert clear(home) == 0  # and this test goes on


def test_a_child_is_found_again_and_ended_with_its_children(home: Home) -> None:
    child = spawn(home, "runner", ["timeit", "-n", "1", "-r", "1", SLEEP_WITH_CHILD], guarded=False)
    found = recall(home, "runner")
    assert found is not None
    assert found.process == child.process
    wait_until(lambda: len(leftovers(home)) == 2, 20, "child and grandchild run")
    assert clear(home) == 2
    assert leftovers(home) == []
    assert recall(home, "runner") is None


SLEEP_WITH_CHILD = "import subprocess; subprocess.run(['sleep', '60'])"


def test_orphans_of_a_killed_runner_are_found_by_their_marker(home: Home) -> None:
    environment = {**os.environ, MARKER: str(home.folder)}
    orphan = subprocess.Popen(["sleep", "60"], env=environment, start_new_session=True)
    wait_until(lambda: [each.pid for each in leftovers(home)] == [orphan.pid], 10, "it is found")
    assert clear(home) == 1
    assert not psutil.pid_exists(orphan.pid)
    orphan.wait(timeout=5)


def test_what_ignores_sigterm_is_killed(home: Home) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True)"
    command = [sys.executable, "-c", f"{code}; time.sleep(60)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as stubborn:
        stubborn.stdout.readline()
        process = psutil.Process(stubborn.pid)
        stop([process], grace=0.2)
        assert process.wait(timeout=5) == -9


def test_a_child_that_dies_shows_the_end_of_its_log(home: Home) -> None:
    child = spawn(home, "server", ["no_such_module_at_all"], guarded=False)
    child.process.wait(timeout=20)
    with pytest.raises(ChildDied, match="No module named no_such_module_at_all"):
        child.require_alive()
    stop([child.process])


def test_a_guarded_child_ends_with_its_starter(home: Home) -> None:
    code = (
        "import sys; from pathlib import Path; from deployments.home import Home;"
        "from deployments.processes import spawn;"
        f"home = Home(Path({str(home.folder)!r}), 1);"
        "spawn(home, 'runner', ['timeit', '-n', '1', '-r', '1', 'import time; time.sleep(60)'],"
        " guarded=True); print(flush=True); sys.stdin.read()"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    starter.stdout.readline()
    wait_until(lambda: len(leftovers(home)) == 1, 10, "the child runs")
    starter.kill()
    starter.communicate()
    wait_until(lambda: leftovers(home) == [], 10, "the child has ended")


def test_one_command_at_a_time(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.local.LOCK_SECONDS", 0.0)
    with alone(home), pytest.raises(LaunchError, match=f"in use by process {os.getpid()} "):
        alone(home).__enter__()
    with alone(home):
        pass


def test_a_port_of_somebody_unseen_gets_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(kind: str) -> list:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    assert "sudo lsof -iTCP:4266" in processes.port_holder(4266)


def test_the_port_is_the_one_that_plain_commands_use(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text('[tool.prefect.api]\nurl = "http://127.0.0.1:4321/api"\n')
    assert configured_port(file) == 4321
    file.write_text('[tool.prefect.api]\nurl = "http://prefect.example/api"\n')
    with pytest.raises(ValueError, match="must name a port"):
        configured_port(file)
