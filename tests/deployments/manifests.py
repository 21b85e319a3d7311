"""The Kubernetes files of the repository, and what a worker makes of the job template."""

import json
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import yaml

from deployments.container import TEMPLATES
from deployments.home import CHECKOUT

FOLDER = CHECKOUT / "deployments" / "kubernetes"
VERSIONS = ("1.29", "1.37")
"""The oldest and the newest version of Kubernetes that the manifests are checked against."""


def template() -> dict[str, Any]:
    return json.loads(TEMPLATES["kubernetes"].read_text())


def documents() -> list[dict[str, Any]]:
    files = sorted(FOLDER.glob("*.yaml"))
    return [each for file in files for each in yaml.safe_load_all(file.read_text())]


def validate(document: dict[str, Any]) -> None:
    """Check against the published schemas; a field that they do not know is an error."""
    for version in VERSIONS:
        kubernetes_validate.validate(document, version, strict=True)


def pod(document: dict[str, Any]) -> dict[str, Any]:
    return document["spec"]["template"]["spec"]


def without_prefects_own(job: dict[str, Any]) -> dict[str, Any]:
    """Leave out two fields that Prefect demands where Kubernetes knows them one level up only."""
    job = json.loads(json.dumps(job))
    assert (pod(job).pop("parallelism"), pod(job).pop("completions")) == (1, 1)
    assert (job["spec"]["parallelism"], job["spec"]["completions"]) == (1, 1)
    return job


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, str(key)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, str(index)))
    else:
        yield path, value
