"""Work pool and manifests for Kubernetes: checked against its schemas, without a cluster."""

import json
import tomllib
from typing import Any

import pytest
from prefect.utilities.templating import apply_values, find_placeholders

from deployments.home import CHECKOUT
from tests.deployments.manifests import (
    documents,
    leaves,
    pod,
    template,
    validate,
    without_prefects_own,
)

VERSION = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
SECRETS = {
    "mbpo-server": {"PREFECT_SERVER_DATABASE_PASSWORD", "PREFECT_SERVER_API_AUTH_STRING"},
    "mbpo-client": {"PREFECT_API_AUTH_STRING"},
}


def rendered(**chosen: Any) -> dict[str, Any]:
    """What a worker sends for a flow run: defaults, choices, and what it adds by itself."""
    made = template()
    properties = made["variables"]["properties"]
    values = {name: each["default"] for name, each in properties.items() if "default" in each}
    assert chosen.keys() <= properties.keys()
    added = {"name": "full", "labels": {"prefect.io/flow-run-name": "mbpo"}}
    added |= {"env": [{"name": "PREFECT_API_URL", "value": "http://mbpo-server:4200/api"}]}
    added |= {"command": ["prefect", "flow-run", "execute"]}
    return apply_values(made["job_configuration"], {**values, **added, **chosen})["job_manifest"]


def name_of(document: dict[str, Any]) -> str:
    return f"{document['kind']}-{document['metadata'].get('name', 'of-a-run')}"


@pytest.mark.parametrize("document", documents(), ids=name_of)
def test_manifests_keep_to_the_schemas(document: dict[str, Any]) -> None:
    validate(document)
    assert document["metadata"]["namespace"] == "mbpo"


def test_a_misspelt_field_is_noticed() -> None:
    import kubernetes_validate

    wrong = json.loads(json.dumps(documents()[0]))
    wrong["spec"]["servicename"] = "mbpo"
    with pytest.raises(kubernetes_validate.ValidationError, match="servicename"):
        validate(wrong)


@pytest.mark.parametrize(
    "chosen",
    [{}, {"gpus": 0, "tolerations": []}, {"gpus": 8, "memory_limit": "256Gi", "cpu_limit": "64",
     "node_selector": {"gpu": "h100"}, "service_account_name": "mbpo"}],
)  # fmt: skip
def test_the_job_of_a_flow_run_keeps_to_the_schema(chosen: dict[str, Any]) -> None:
    job = rendered(**chosen)
    validate(without_prefects_own(job))
    container = pod(job)["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == chosen.get("gpus", 1)
    assert container["resources"]["limits"].get("cpu") == chosen.get("cpu_limit")
    assert container["envFrom"] == [{"secretRef": {"name": "mbpo-jobs", "optional": True}}]
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    [claim] = [each for each in pod(job)["volumes"] if each["name"] == mounts["/app/.mbpo"]]
    assert claim["persistentVolumeClaim"]["claimName"] == "mbpo-artifacts"


def test_every_variable_of_the_template_is_used_and_every_placeholder_declared() -> None:
    made = template()
    used = {
        placeholder.name
        for _, value in leaves(made["job_configuration"])
        for placeholder in find_placeholders(value)
    }
    assert used == set(made["variables"]["properties"])


def test_the_claim_that_jobs_mount_is_made() -> None:
    claims = [d for d in documents() if d["kind"] == "PersistentVolumeClaim"]
    default = template()["variables"]["properties"]["artifacts_claim"]["default"]
    assert [each["metadata"]["name"] for each in claims] == [default]
    assert claims[0]["spec"]["accessModes"] == ["ReadWriteMany"]


def workloads() -> list[dict[str, Any]]:
    jobs = rendered()
    return [*(d for d in documents() if "template" in d.get("spec", {})), jobs]


def test_secrets_come_by_reference_only() -> None:
    for document in workloads():
        for container in pod(document)["containers"]:
            for variable in container["env"]:
                name, source = variable["name"], variable.get("valueFrom")
                if source is not None:
                    reference = source["secretKeyRef"]
                    assert reference["key"] in SECRETS[reference["name"]]
                    assert "value" not in variable and "optional" not in reference
                elif not name.startswith("PREFECT_INTEGRATIONS_"):
                    assert not any(word in name for word in ("PASSWORD", "AUTH", "TOKEN", "KEY"))
                assert "://" not in variable.get("value", "") or "@" not in variable["value"]
    assert not [d for d in documents() if d["kind"] == "Secret"]


def test_only_server_and_database_read_the_servers_secret() -> None:
    readers = {
        name_of(document)
        for document in workloads()
        for path, value in leaves(document)
        if value == "mbpo-server" and path[-2] in ("secretKeyRef", "secretRef")
    }
    assert readers == {"Deployment-mbpo-server", "StatefulSet-mbpo-postgres"}


def test_nothing_runs_as_root_or_may_become_it() -> None:
    for document in workloads():
        assert pod(document)["securityContext"]["runAsNonRoot"] is True
        assert pod(document)["securityContext"]["runAsUser"] > 0
        for container in pod(document)["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_services_reach_the_pods_they_name() -> None:
    made = documents()
    for service in (d for d in made if d["kind"] == "Service"):
        labels = [
            d["spec"]["template"]["metadata"]["labels"]
            for d in made
            if d["kind"] in ("Deployment", "StatefulSet")
        ]
        selector = service["spec"]["selector"].items()
        assert len([each for each in labels if selector <= each.items()]) == 1
    addresses = {v for d in made for p, v in leaves(d) if str(v).startswith("http://mbpo-")}
    assert addresses == {"http://mbpo-server:4200/api"}


def test_all_run_the_image_of_this_version() -> None:
    images = {
        container["image"] for document in workloads() for container in pod(document)["containers"]
    }
    assert images == {f"mbpo:{VERSION}", "postgres:15"}
