"""What the shell offers for a word that is being typed: stages, recipes, versions, runs, tags.

Answers come from names of folders and files alone; an error is no completion.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import typer

from tasks.order import ORDER

_KEY = 8
_ROOT = Path(".mbpo")


def complete_stage(incomplete: str) -> list[str]:
    """Offer the stages."""
    return [stage for stage in ORDER if stage.startswith(incomplete)]


def complete_recipe(incomplete: str) -> list[str]:
    """Offer the shipped recipes."""
    from mbpo_core.recipes import RECIPES

    return [name for name in RECIPES if name.startswith(incomplete)]


def complete_tag(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the tags."""
    return [tag for tag in _stems(ctx, "tags") if tag.startswith(incomplete)]


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the runs, the newest first, and the tags."""
    names = [*_stems(ctx, "runs")[::-1], *_stems(ctx, "tags")]
    return [name for name in names if name.startswith(incomplete)]


def complete_ref(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer tags and stages, and behind `mine/` the versions; behind a run's tag its stages."""
    head, slash, _ = incomplete.partition("/")
    if not slash:
        names = [*_stems(ctx, "tags"), *_folders(_root(ctx) / "artifacts")]
        return [name for name in names if name.startswith(incomplete)]
    keys = dict.fromkeys(name[:_KEY] for name in _folders(_root(ctx) / "artifacts" / head))
    offered = [f"{head}/{key}" for key in keys] or [f"{head}/{name}" for name in _of(ctx, head)]
    return [name for name in offered if name.startswith(incomplete)]


def _of(ctx: typer.Context, name: str) -> Iterator[str]:
    """Yield the stages of a run, by its id or by a tag."""
    try:
        tag = _root(ctx) / "tags" / f"{name}.json"
        run_id = json.loads(tag.read_text())["run_id"] if tag.exists() else name
        yield from json.loads((_root(ctx) / "runs" / f"{run_id}.json").read_text())["stages"]
    except (OSError, ValueError, KeyError, TypeError):
        return


def _root(ctx: typer.Context) -> Path:
    return Path(ctx.params.get("root") or _ROOT)


def _stems(ctx: typer.Context, folder: str) -> list[str]:
    return sorted(path.stem for path in (_root(ctx) / folder).glob("*.json"))


def _folders(path: Path) -> list[str]:
    return sorted(each.name for each in path.glob("[!.]*") if each.is_dir())
