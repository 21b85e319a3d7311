"""`mbpo ls`, `runs` and `show`: which versions there are, and all that is known of one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.completion import complete_recipe, complete_stage, complete_tag
from flows.console import ROOT, AsJson, Ref, Root, errors_in_words, out, print_json, print_wide
from storage.naming import find_run
from storage.runs import RunRecord, is_in_progress, read_runs
from storage.store import ArtifactStore
from tasks.versions import Version, described, in_order, versions

_CELL = 200


def ls(
    stage: Annotated[
        str | None,
        typer.Argument(help="A stage or a table, or `runs`.", autocompletion=complete_stage),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Made by this recipe.", autocompletion=complete_recipe)
    ] = None,
    tag: Annotated[
        str | None, typer.Option(help="With this tag.", autocompletion=complete_tag)
    ] = None,
    root: Root = ROOT,
    as_json: AsJson = False,
) -> None:
    """List the versions of all artifacts, the newest last."""
    if stage == "runs":
        runs(recipe, root, as_json)
        return
    with errors_in_words():
        there = versions(ArtifactStore(root))
        found = [each for each in there if _asked(each, stage, recipe, tag)]
        if there and not found:
            stages = ", ".join(dict.fromkeys(each.stage for each in there))
            raise ValueError(f"no such version; there are {len(there)}, of {stages}")
    if as_json:
        print_json(found)
        return
    table = Table("artifact", "table", "rows", "refused", "MB", "made (UTC)", "recipe", "run",
                  "tags", "latest of")  # fmt: skip
    for each in found:
        table.add_row(
            each.ref, each.table, str(each.rows), str(each.refused), f"{each.bytes / 1e6:.2f}",
            each.created_at[:16], each.recipe, each.run_id, ", ".join(each.tags),
            ", ".join(each.latest_of),
        )  # fmt: skip
    print_wide(table)
    if not there:
        out.print(f"nothing in {root}; `mbpo run mbpo --limit 64` makes a first run", markup=False)


def _asked(version: Version, stage: str | None, recipe: str | None, tag: str | None) -> bool:
    return (
        stage in (None, version.stage, version.table)
        and recipe in (None, version.recipe)
        and (tag is None or tag in version.tags)
    )


def runs(
    recipe: Annotated[
        str | None, typer.Option(help="Of this recipe.", autocompletion=complete_recipe)
    ] = None,
    root: Root = ROOT,
    as_json: AsJson = False,
) -> None:
    """List the runs and the artifacts that each used, the newest last."""
    records = [run for run in read_runs(root.absolute()) if recipe in (None, run.recipe)]
    status = {run.run_id: _status(root, run) for run in records}
    if as_json:
        print_json(
            [
                {"run_id": run.run_id, "recipe": run.recipe, "started_at": run.started_at,
                 "status": status[run.run_id],
                 "stages": {stage: ref.short for stage, ref in in_order(run.stages).items()}}
                for run in records
            ]
        )  # fmt: skip
        return
    table = Table("run", "recipe", "started (UTC)", "status", "artifacts")
    for run in records:
        refs = " ".join(ref.short for ref in in_order(run.stages).values())
        table.add_row(run.run_id, run.recipe, run.started_at[:16], status[run.run_id], refs)
    print_wide(table)


def _status(root: Any, run: RunRecord) -> str:
    """Return how a run stands; one whose process died says `running` in its record for ever."""
    if run.status != "running":
        return run.status
    return "running" if is_in_progress(root, run) else "died"


def show(
    ref: Ref,
    rows: Annotated[int, typer.Option(min=0, help="How many rows to print.")] = 3,
    root: Root = ROOT,
    as_json: AsJson = False,
) -> None:
    """Show one artifact: where it comes from, its settings and counts, and its first rows.

    A run, by its id or a tag, is shown by its artifacts and settings.
    """
    with errors_in_words():
        store = ArtifactStore(root)
        run = find_run(store.root, ref) if "/" not in ref and not _is_artifact(store, ref) else None
        facts = _of_run(store, run) if run else described(store, store.resolve(ref), rows)
    if as_json:
        print_json(facts)
        return
    first = facts.pop("rows", [])
    config = facts.pop("config")
    for name, value in facts.items():
        if value not in ({}, (), [], None, ""):
            out.print(f"{name:16} {_text(value)}", markup=False, soft_wrap=True)
    out.print("settings")
    for name, value in flat(config).items():
        out.print(f"  {name} = {json.dumps(value)}", markup=False, soft_wrap=True)
    for number, row in enumerate(first):
        out.print(f"row {number}")
        for name, value in row.items():
            out.print(f"  {name:20} {_cell(value)}", markup=False, soft_wrap=True)


def _is_artifact(store: ArtifactStore, text: str) -> bool:
    try:
        store.resolve(text)
    except LookupError:
        return False
    return True


def _of_run(store: ArtifactStore, run: RunRecord) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "recipe": run.recipe,
        "started_at": run.started_at,
        "status": _status(store.root, run),
        "artifacts": {stage: ref.short for stage, ref in in_order(run.stages).items()},
        "config": run.settings,
    }


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted name."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        nested = isinstance(value, Mapping) and value
        found |= flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return found


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(each)}" for name, each in flat(value).items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _cell(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _CELL else text[: _CELL - 3] + "..."
