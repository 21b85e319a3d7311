"""The cluster files are what Ray itself reads."""

import re
from pathlib import Path

import yaml

FOLDER = Path(__file__).parents[2] / "deployments" / "ray"


def read(name):
    return yaml.safe_load((FOLDER / name).read_text())


def test_the_file_for_ray_up_is_valid_and_starts_every_machine_from_the_checkout():
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(read("cluster.yaml"))
    validate_config(config)
    (kind,) = config["available_node_types"].values()
    assert kind["max_workers"] == 2 == len(config["provider"]["worker_ips"])
    for role in ("head", "worker"):
        assert ".venv/bin/ray start" in config[f"{role}_start_ray_commands"][-1]
    assert "--head" in config["head_start_ray_commands"][-1]


def test_the_manifest_for_kuberay_gives_the_autoscaler_gpus_to_start_from_nothing():
    from ray.autoscaler._private.kuberay.autoscaling_config import (
        _derive_autoscaling_config_from_ray_cr,
    )
    from ray.autoscaler._private.util import validate_config

    manifest = read("kuberay.yaml")
    manifest["metadata"]["namespace"] = "default"  # as Kubernetes does
    config = _derive_autoscaling_config_from_ray_cr(manifest)
    validate_config(config)
    kinds = config["available_node_types"]
    assert kinds["headgroup"]["resources"]["CPU"] == 0
    assert kinds["gpu"]["resources"]["GPU"] == 1 and kinds["gpu"]["min_workers"] == 0
    assert "GPU" not in kinds["cpu"]["resources"] and kinds["cpu"]["resources"]["CPU"] == 16


def test_all_pods_share_the_store_and_have_the_version_of_ray_that_is_pinned():
    spec = read("kuberay.yaml")["spec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    assert len(pods) == 3
    for pod in pods:
        (volume,), (container,) = pod["volumes"], pod["containers"]
        (mount,) = container["volumeMounts"]
        assert mount == {"name": volume["name"], "mountPath": "/store"}
        assert container["image"] == "IMAGE"
    pins = (FOLDER.parents[1] / "constraints.txt").read_text()
    assert re.search(r"^ray==(.*)$", pins, re.MULTILINE)[1] == spec["rayVersion"]
