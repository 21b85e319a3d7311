"""Functions that return a complete recipe, and the table that finds them by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mbpo_core.config import Recipe
from mbpo_core.recipes.mbpo import mbpo_qwen2_5_vl_7b, mbpo_qwen2_vl_7b, tiny

RECIPES: dict[str, Callable[[], Recipe]] = {
    "tiny": tiny,
    "mbpo-qwen2-vl-7b": mbpo_qwen2_vl_7b,
    "mbpo-qwen2.5-vl-7b": mbpo_qwen2_5_vl_7b,
}


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
