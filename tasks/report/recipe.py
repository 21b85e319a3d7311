"""The recipe of a page: without the machine's paths, and as the commands that repeat it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from mbpo_core.recipes import RECIPES, load_recipe


def shareable(value: Any) -> Any:
    """Return JSON values with absolute paths cut down to their last part.

    A page is shown to others, and must not depend on where a machine keeps its files.
    """
    if isinstance(value, Mapping):
        return {name: shareable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [shareable(each) for each in value]
    if isinstance(value, str) and _is_absolute(value):
        return PurePath(value.replace("\\", "/")).name
    return value


def _is_absolute(text: str) -> bool:
    return text.startswith(("/", "~", "\\")) or text[1:3] in (":\\", ":/")


def commands(name: str, settings: Mapping[str, Any]) -> list[str]:
    """Return the commands that make a run again, from its recipe as `shareable` JSON values."""
    if not settings:
        return []
    if name not in RECIPES:
        return [f"mbpo run {name}.json"]
    shipped = shareable(load_recipe(name).model_dump(mode="json"))
    words = ["mbpo run", name]
    words += [f"--set {shlex.quote(f'{key}={_text(value)}')}"
              for key, value in changed(settings, shipped)]  # fmt: skip
    return [" \\\n  ".join(words) if len(words) > 3 else " ".join(words)]


def changed(value: Any, base: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted settings in which a recipe differs from another, with their values.

    A part of another kind, or with other settings, is given as a whole.
    """
    for name, each in value.items():
        key, other = f"{prefix}{name}", base.get(name)
        if each == other:
            continue
        same = (
            isinstance(each, Mapping) and isinstance(other, Mapping) and each.keys() == other.keys()
        )
        if same and each.get("kind") == other.get("kind"):
            yield from changed(each, other, f"{key}.")
        else:
            yield key, each


def _text(value: Any) -> str:
    """Return a value as `parse_override` reads it."""
    return value if isinstance(value, str) and not _reads_as_json(value) else json.dumps(value)


def _reads_as_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True
