"""The name of a flow run in Prefect: a run is found by what it was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.runtime import flow_run


def run_name() -> str:
    """Return the recipe, and what sets the run apart from a whole one; called inside of a run."""
    return name_of(flow_run.parameters or {})


def name_of(given: Mapping[str, Any]) -> str:
    """Return the name for the flow's parameters, as `mbpo, mine+respond, limit 64`."""
    words = [str(given.get("recipe") or "mbpo")]
    if given.get("only"):
        words.append("+".join(given["only"]))
    if given.get("start"):
        words.append(f"from {given['start']}")
    if given.get("limit"):
        words.append(f"limit {given['limit']}")
    if given.get("refresh"):
        words.append(f"refresh {'+'.join(given['refresh'])}")
    if given.get("retry"):
        words.append(f"retry {'+'.join(given['retry'])}")
    return ", ".join(words)
