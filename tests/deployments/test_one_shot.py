"""`run` without anything standing: it brings its own server and takes it down."""

import pytest

from tests.servers import Place, wait_until

pytestmark = pytest.mark.server


def test_nothing_outlives_a_run_however_it_ends(fresh: Place) -> None:
    killed = fresh.start("run", "--package", "toy", "--set", "sleep=300")
    line = ""
    while "ingest: running" not in line:
        line = killed.stdout.readline()
        assert line, "the run ended before it began"
    assert len(fresh.processes()) >= 3  # server, runner, flow run
    status, output = fresh.run()
    assert status == 1
    assert f"is in use by process {killed.pid} (" in output
    killed.kill()
    killed.communicate()
    wait_until(lambda: fresh.processes() == [], 30, "the processes of a killed run are gone")
    assert fresh.states() == ["RUNNING"]  # nobody was left to say otherwise

    status, output = fresh.run("recipe-b")
    assert status == 0, output
    assert "the results of recipe-b" in output
    assert fresh.processes() == []
    assert fresh.states() == ["CRASHED", "COMPLETED"]
    status, output = fresh.launch("down")
    assert (status, output.strip()) == (0, "nothing stands")
