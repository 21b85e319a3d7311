"""A shard on a node of a Ray cluster, if that node can compute it as the run's own would."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mbpo_core.config import Recipe
from storage.errors import StoreError
from storage.refs import ArtifactRef
from storage.store import ArtifactStore
from tasks.models import forget_policy
from tasks.registry import STAGES
from tasks.runtime import Runtime
from tasks.samplers import forget_sampler
from tasks.worker import answer

__all__ = ["answer_here", "forget_policy", "forget_sampler", "other_code", "unseen"]


def answer_here(
    request: dict[str, Any], device: str, node: str, note: Callable[[str], None]
) -> dict[str, Any]:
    """Return the answer to a request, as `tasks.worker.answer` does."""
    torch.set_num_threads(1)  # holds for the thread that calls, and Ray calls from several
    wrong = _no_gpu(device) or unseen(request) or other_code(request)
    if wrong:
        message = f"the worker on node {node} {wrong}"
        return {"error": message, "transient": False, "mendable": True}
    try:
        return answer(request, device, note)
    except torch.AcceleratorError:
        os._exit(1)  # the device's context is lost; a fresh process tries again


def _no_gpu(device: str) -> str | None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        return "has a GPU of Ray's, but its PyTorch sees none: is it a build for CPUs?"
    return None


def unseen(request: dict[str, Any]) -> str | None:
    """Say what of the store this node does not see, None if it sees all that a request needs.

    The lock is held while a stage is made, so its file is there on every node that shares the
    folder; a folder of the same name on a disk of the node's own does not have it.
    """
    store = ArtifactStore(Path(request["root"]))
    shared = "; all nodes must share that folder"
    if not store.root.is_dir():
        return f"does not see the store {store.root}{shared}"
    if not (store.root / "locks" / request["stage"] / f"{request['key']}.lock").is_file():
        return f"sees another folder as {store.root} than the run does{shared}"
    for ref in request["inputs"].values():
        try:
            store.manifest(ArtifactRef.from_dict(ref))
        except StoreError as error:
            return f"does not see all of the store: {error}{shared}"
    return None


_agreed: set[str] = set()
"""Keys of stages that this process was found fit for; its code does not change while it runs."""


def other_code(request: dict[str, Any]) -> str | None:
    """Say which code or library differs from the run's, as far as it decides the rows."""
    if request["key"] in _agreed:
        return None
    recipe = Recipe.model_validate(request["recipe"])
    runtime = Runtime.model_validate(request["runtime"])
    mine, wanted = STAGES[request["stage"]].made_by(recipe, runtime), request["made_by"]
    differ = sorted(
        name for name in mine.keys() | wanted.keys() if mine.get(name) != wanted.get(name)
    )
    if not differ:
        _agreed.add(request["key"])
        return None
    return (
        f"has another version of {', '.join(differ[:3])}{' and more' if differ[3:] else ''} than "
        "the run: install the same checkout and packages on all nodes"
    )
