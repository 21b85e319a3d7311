"""What Prefect's own Kubernetes worker sends to a cluster, caught by a server in its place."""

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import yaml

from tests.deployments.manifests import (
    FOLDER,
    documents,
    pod,
    template,
    validate,
    without_prefects_own,
)

worker = pytest.importorskip(
    "prefect_kubernetes.worker", reason="needs the extra: pip install -e '.[kubernetes]'"
)
AUTH = "mbpo:auth-77c1e0"


@pytest.fixture
def cluster() -> Iterator[SimpleNamespace]:
    """Takes jobs as the API server of Kubernetes does, and keeps them."""
    sent: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            sent.append((self.path, body))
            answer = json.dumps({**body, "metadata": {**body["metadata"], "name": "j"}}).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", sent=sent)
        server.shutdown()


def settings_of_the_worker() -> dict[str, str]:
    [deployment] = [
        d for d in yaml.safe_load_all((FOLDER / "worker.yaml").read_text())
        if d["kind"] == "Deployment"
    ]  # fmt: skip
    return {e["name"]: e["value"] for e in pod(deployment)["containers"][0]["env"] if "value" in e}


async def send(url: str) -> None:
    """Do what a worker does with a scheduled run."""
    from kubernetes_asyncio.client import ApiClient, Configuration
    from prefect.client.schemas.objects import Flow, FlowRun

    run = FlowRun(id=uuid4(), name="amber-mole", flow_id=uuid4())
    configuration = await worker.KubernetesWorkerJobConfiguration.from_template_and_values(
        template(), {"gpus": 2, "env": {"MBPO_NOTE": "plain"}}
    )
    configuration.prepare_for_flow_run(run, flow=Flow(id=run.flow_id, name="mbpo"))
    async with ApiClient(Configuration(host=url)) as client:
        await worker.KubernetesWorker("mbpo", name="w")._create_job(configuration, client)


def test_what_the_worker_sends_is_a_valid_job_without_secrets(
    cluster: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    for name, value in settings_of_the_worker().items():
        monkeypatch.setenv(name, value)
    own = {PREFECT_API_AUTH_STRING: AUTH, PREFECT_API_URL: "http://mbpo-server:4200/api"}
    with temporary_settings(own):
        asyncio.run(send(cluster.url))
    [(path, job)] = cluster.sent
    assert path == "/apis/batch/v1/namespaces/mbpo/jobs"
    validate(without_prefects_own(job))
    assert AUTH not in json.dumps(job)
    [container] = pod(job)["containers"]
    variables = {each["name"]: each for each in container["env"]}
    assert variables["PREFECT_API_AUTH_STRING"]["valueFrom"] == {
        "secretKeyRef": {"name": "mbpo-client", "key": "PREFECT_API_AUTH_STRING"}
    }
    assert variables["MBPO_NOTE"]["value"] == "plain"
    assert variables["PREFECT_API_URL"]["value"] == "http://mbpo-server:4200/api"
    # An evicted run is scheduled again, and goes on at its missing shards.
    assert variables["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"]["value"] == "reschedule"
    assert container["args"] == ["prefect", "flow-run", "execute"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 2}


def test_the_pool_keeps_all_that_the_worker_knows() -> None:
    standard = worker.KubernetesWorker.get_default_base_job_template()
    ours = template()
    assert standard["variables"]["properties"].keys() <= ours["variables"]["properties"].keys()
    assert standard["job_configuration"].keys() == ours["job_configuration"].keys()
    assert {d["kind"] for d in documents()} >= {"Role", "RoleBinding", "ServiceAccount"}
