"""What `up` leaves standing, with the commands that users type against it."""

import os
import signal
import socket

import psutil
import pytest

from deployments.processes import leftovers, recall, stop
from deployments.zombies import automation, bury
from tasks.registry import ORDER
from tests.deployments.manifests import template
from tests.deployments.toy.pipeline import DEPLOYMENTS
from tests.servers import Place, listening, shell, wait_until

pytestmark = pytest.mark.server


def client(place: Place):
    from prefect.client.orchestration import SyncPrefectClient

    return SyncPrefectClient(place.home.url)


def test_home_is_private(standing: Place) -> None:
    assert standing.home.folder.stat().st_mode & 0o777 == 0o700


def test_only_this_machine_reaches_server_and_runner(standing: Place) -> None:
    assert listening(standing.home, standing.home.port) == {"127.0.0.1"}
    assert listening(standing.home) == {"127.0.0.1"}


def test_a_second_up_finds_the_first(standing: Place) -> None:
    before = recall(standing.home, "server"), recall(standing.home, "runner")
    status, output = standing.up()
    assert status == 0
    assert "stands already" in output
    assert (recall(standing.home, "server"), recall(standing.home, "runner")) == before


def test_every_entry_of_the_table_is_deployed(standing: Place) -> None:
    with client(standing) as server:
        registered = {each.name: each for each in server.read_deployments()}
    served = {name: each.parameters for name, each in registered.items() if name in DEPLOYMENTS}
    assert served == DEPLOYMENTS
    assert {registered[name].entrypoint for name in DEPLOYMENTS} == {"toy.pipeline.mbpo"}


@pytest.mark.parametrize(("failing", "status"), [("none", 0), ("mine", 1)])
def test_watch_exits_with_the_status_of_the_run(standing: Place, failing: str, status: int) -> None:
    parameter = f'overrides={{"fail": "{failing}"}}'
    arguments = ("mbpo/full", "--watch", "--watch-timeout", "120", "-p", parameter)
    got, output = standing.prefect("deployment", "run", *arguments)
    assert got == status, output


def test_run_uses_what_stands_and_fails_with_its_flow_run(standing: Place) -> None:
    server = recall(standing.home, "server")
    status, output = standing.run("recipe-a", "--set", "fail=mine", "--limit", "3")
    assert status == 1, output
    assert f"process {server.process.pid}" in output
    assert '"limit": 3' in output
    assert "working on ingest" in output  # what the packages log
    assert "RuntimeError: asked to fail in mine" in output
    assert "the results of" not in output
    assert server.alive


def test_a_run_that_is_interrupted_is_cancelled(standing: Place) -> None:
    waiting = standing.start("run", "--package", "toy", "--set", "sleep=60")
    line = ""
    while "ingest: running" not in line:
        line = waiting.stdout.readline()
        assert line, "the run ended before it began"
    waiting.send_signal(signal.SIGINT)
    waiting.communicate(timeout=60)
    assert waiting.returncode == 128 + signal.SIGINT
    wait_until(lambda: standing.states()[-1] == "CANCELLED", 30, "the run is cancelled")


def test_a_run_whose_worker_died_is_marked_crashed(standing: Place) -> None:
    with client(standing) as server:
        # The rule of `up` with less patience; no other run is alive while it exists.
        rule = server.create_automation(automation("impatient", 10.0))
        deployment = server.read_deployment_by_name("mbpo/full")
        run = server.create_flow_run_from_deployment(
            deployment.id, parameters={"overrides": {"sleep": 300}}
        )
        wait_until(lambda: server.read_flow_run(run.id).state.is_running(), 60, "it runs")
        # The first heartbeat has to be on the server: it is sent when the run starts.
        wait_until(lambda: heartbeats(server, run.id) > 0, 30, "a heartbeat")
        standing_server = recall(standing.home, "server").process
        killed = [p for p in leftovers(standing.home) if p != standing_server]
        assert len(killed) >= 2  # runner and flow run
        for process in killed:
            process.kill()
        wait_until(lambda: server.read_flow_run(run.id).state.is_crashed(), 60, "it is crashed")
        server.request("DELETE", "/automations/{id}", path_params={"id": rule})
    status, output = standing.up()  # gives the server a runner again
    assert status == 0, output
    assert recall(standing.home, "runner").alive
    assert recall(standing.home, "server").process == standing_server


def heartbeats(server, run_id) -> int:
    occurred = {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
    chosen = {
        "occurred": occurred,
        "event": {"name": ["prefect.flow-run.heartbeat"]},
        "resource": {"id": [f"prefect.flow-run.{run_id}"]},
    }
    answer = server.request("POST", "/events/filter", json={"filter": chosen, "limit": 1})
    return answer.json()["total"]


def test_a_busy_port_is_named_with_its_process(fresh: Place) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", fresh.home.port))
        holder.listen()
        status, output = fresh.up()
    assert status == 1
    assert f"port {fresh.home.port} is taken by process {os.getpid()} (" in output
    assert psutil.Process().cmdline()[0] in output
    assert "Traceback" not in output
    assert fresh.processes() == []


def create_pool(place: Place, name: str) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    with client(place) as server:
        server.create_work_pool(
            WorkPoolCreate(name=name, type="process", base_job_template=template)
        )


def test_pool_and_deployments_of_a_cluster_are_accepted_by_the_server(standing: Place) -> None:
    status, output = standing.module("deployments.container", "register", "--type", "kubernetes")
    assert status == 0, output
    with client(standing) as server:
        pool = server.read_work_pool("mbpo")
    assert (pool.type, pool.base_job_template) == ("kubernetes", template())
    with client(standing) as server:
        pooled = {
            each.name: each for each in server.read_deployments() if each.work_pool_name == "mbpo"
        }
    assert len(pooled) == 1 + len(ORDER)
    assert {each.entrypoint for each in pooled.values()} == {"flows.pipeline.mbpo"}
    assert pooled["mine-pool"].parameters == {"only": ["mine"]}
    [step] = pooled["mine-pool"].pull_steps
    assert list(step.values()) == [{"directory": "{{ $MBPO_ROOT }}"}]


def test_what_a_worker_elsewhere_runs_is_not_buried_with_the_runner(standing: Place) -> None:
    from prefect.states import Running

    with client(standing) as server:
        runs = {
            name: server.create_flow_run_from_deployment(
                server.read_deployment_by_name(f"mbpo/{name}").id, state=Running()
            )
            for name in ("mine", "mine-pool")
        }
        assert [each.id for each in bury(server)] == [runs["mine"].id]
        assert server.read_flow_run(runs["mine-pool"].id).state.is_running()
        server.delete_flow_run(runs["mine-pool"].id)


@pytest.mark.slow
def test_a_process_worker_runs_a_pool_deployment(standing: Place, tmp_path) -> None:
    import subprocess
    import sys

    from deployments.home import CHECKOUT

    text = (CHECKOUT / "deployments" / "prefect.yaml").read_text()
    file = tmp_path / "prefect.yaml"
    file.write_text(
        text.replace("flows.pipeline", "toy.pipeline").replace("name: mbpo\n", "name: toy\n")
    )
    create_pool(standing, "toy")
    arguments = ("deploy", "--name", "mine-pool", "--prefect-file", str(file))
    status, output = standing.prefect("--no-prompt", *arguments)
    assert status == 0, output
    worker = subprocess.Popen(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", "toy"],
        cwd=CHECKOUT,
        env={**shell(), **standing.home.environment()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        watch = ("mbpo/mine-pool", "--watch", "--watch-timeout", "120")
        status, output = standing.prefect("deployment", "run", *watch)
    finally:
        # Prefect's worker does not always heed the first signal.
        stop([psutil.Process(worker.pid)])
        worker.wait(timeout=30)
    assert status == 0, output
