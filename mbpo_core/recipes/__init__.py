"""Functions that return a complete recipe, and the table that finds them by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mbpo_core.config import Recipe
from mbpo_core.recipes.adavip import adavip, adavip_fixed
from mbpo_core.recipes.baselines import bpo, dpo, mdpo, povid, sft
from mbpo_core.recipes.mbpo import (
    mbpo,
    mbpo_offline_adversarial,
    mbpo_offline_random,
    mbpo_online,
)
from mbpo_core.recipes.mfpo import mfpo
from mbpo_core.recipes.worlds import WORLDS, World

METHODS: tuple[Callable[[World], Recipe], ...] = (
    mbpo, mbpo_offline_random, mbpo_offline_adversarial, mbpo_online,
    mfpo, adavip, adavip_fixed, dpo, sft, mdpo, povid, bpo,
)  # fmt: skip


def _named() -> dict[str, Callable[[], Recipe]]:
    """Return every method in every world by name: `mfpo`, `mfpo-qwen2-vl-7b`, ..."""
    return {
        method.__name__.replace("_", "-") + world().suffix: partial(_made, method, world)
        for world in WORLDS
        for method in METHODS
    }


def _made(method: Callable[[World], Recipe], world: Callable[[], World]) -> Recipe:
    return method(world())


RECIPES = _named()
DEFAULT = "mbpo"


def load_recipe(name: str) -> Recipe:
    """Return a shipped recipe by name, or read one from a JSON file (`*.json`).

    Raises ValueError naming the recipes there are, or what is wrong in the file.
    """
    if name in RECIPES:
        return RECIPES[name]()
    if name.endswith(".json"):
        path = Path(name)
        if not path.is_file():
            raise ValueError(f"recipe file not found: {name}")
        return Recipe.model_validate(json.loads(path.read_text(encoding="utf-8")))
    raise ValueError(
        f"unknown recipe {name!r}; there are {', '.join(RECIPES)}, or give a .json file"
    )


def configured(name: str, overrides: dict[str, Any], limit: int | None = None) -> Recipe:
    """Return a recipe with settings replaced by dotted key, as a pilot if `limit` is given."""
    pilot = {"ingest.limit": limit, "evaluate.limit": limit} if limit else {}
    return load_recipe(name).with_overrides(pilot | overrides)
