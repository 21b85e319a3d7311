"""`mbpo retry`: rows that failed tried again, when their cause is mended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.completion import complete_run
from flows.console import (
    ROOT,
    AsJson,
    Devices,
    How,
    Root,
    Workers,
    errors_in_words,
    print_json,
    print_wide,
    run_stages,
    runtime_of,
)
from storage.naming import find_run
from storage.runs import RunRecord, read_runs
from storage.store import ArtifactStore


def retry(
    run: Annotated[
        str | None,
        typer.Argument(help="A run's id, its beginning, or a tag; default: the latest.",
                       autocompletion=complete_run),
    ] = None,
    status: Annotated[
        str,
        typer.Option(help="Reasons, comma-separated: out_of_memory, error, unjudged, ...; oom, "
                          "bad_image and nonfinite stand for several."),
    ] = ...,
    stage: Annotated[
        list[str] | None, typer.Option(help="Only this stage; may be repeated.")
    ] = None,
    root: Root = ROOT, workers: Workers = None, devices: Devices = "auto",
    launcher: Annotated[str, typer.Option(help="As of `mbpo run`.")] = "",
    how: How = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Try again the rows of a run that have such a status, and what follows from them.

    The recipe is that of the run. Of each stage that has such rows only their shards are computed;
    stages after it only if their input has changed. The versions that there were stay.
    """
    with errors_in_words():
        from tasks.retry_run import look_back

        statuses = [word.strip() for word in status.split(",") if word.strip()]
        if not statuses:
            raise ValueError("--status is empty: name reasons, as --status oom,bad_image")
        runtime = runtime_of(root, workers, devices, launcher, how)
        before = look_back(runtime, _record(root, run), statuses, stage or ())
        made = run_stages(before.recipe, runtime, before.choice)
        store = ArtifactStore(runtime.root)
        after = {name: store.manifest(each.ref).reasons for name, each in made.items()}
    rows = [each for name in made for each in _changes(name, before.counts.get(name, {}),
                                                       after[name])]  # fmt: skip
    if as_json:
        print_json({"run": before.run.run_id, "stages": made, "reasons": rows})
        return
    table = Table("stage", "version", "shards computed", "table", "reason", "rows before", "now")
    for name, each in made.items():
        computed = "none" if each.hit else str(len(each.computed))
        own = [row for row in rows if row["stage"] == name]
        for row in own or [dict.fromkeys(("table", "reason", "before", "after"), "")]:
            table.add_row(name, each.ref.short, computed, row["table"], row["reason"],
                          str(row["before"]), str(row["after"]))  # fmt: skip
            name, computed = "", ""
    print_wide(table)


def _record(root: Path, text: str | None) -> RunRecord:
    if text is not None:
        found = find_run(root.absolute(), text)
        if found is None:
            raise ValueError(f"no run {text!r}; `mbpo runs` lists them")
        return found
    runs = [each for each in read_runs(root.absolute()) if each.settings]
    if not runs:
        raise ValueError(f"no run in {root}; `mbpo run mbpo --limit 64` makes a first one")
    return runs[-1]


def _changes(
    stage: str,
    before: Mapping[str, Mapping[str, int]],
    after: Mapping[str, Mapping[str, int]],
) -> list[dict[str, Any]]:
    """Return how often each reason was given before and is now, where that differs."""
    found = []
    for table in dict.fromkeys([*before, *after]):
        old, new = before.get(table, {}), after.get(table, {})
        found += [
            {"stage": stage, "table": table, "reason": reason,
             "before": old.get(reason, 0), "after": new.get(reason, 0)}
            for reason in sorted(old.keys() | new.keys())
            if old.get(reason, 0) != new.get(reason, 0)
        ]  # fmt: skip
    return found
