"""`mbpo tag` and `mbpo gc`: what is to stay, and what may go."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer
from rich.table import Table

from flows.completion import complete_ref, complete_tag
from flows.console import ROOT, AsJson, Root, errors_in_words, out, print_json, print_wide
from flows.progress import progress_bar
from storage.catalog import rebuild_catalog
from storage.gc import Findings, Going, collect_garbage, examine_garbage
from storage.naming import find_run
from storage.reach import Policy
from storage.store import ArtifactStore
from storage.tags import Tag, delete_tag, read_tags, write_tag
from tasks.keeping import irreplaceable
from tasks.order import ORDER

_NOT_TAGS = {*ORDER, "runs"}


def tag(
    name: Annotated[
        str | None, typer.Argument(help="The tag.", autocompletion=complete_tag)
    ] = None,
    ref: Annotated[
        str | None,
        typer.Argument(help="A version, or a run with all of its.", autocompletion=complete_ref),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the tag.")] = False,
    root: Root = ROOT,
    as_json: AsJson = False,
) -> None:
    """Name a version or a run; what is tagged, and what it was made from, `gc` keeps.

    Without words the tags are listed. A tag stands wherever a version is asked for.
    """
    with errors_in_words():
        store = ArtifactStore(root)
        said = _tagged(store, name, ref, delete)
        tags = read_tags(store.root)
    if as_json:
        print_json([each.to_dict() | {"target": each.target} for each in tags])
        return
    if said:
        out.print(said, markup=False, soft_wrap=True)
        return
    table = Table("tag", "names")
    for each in tags:
        table.add_row(each.name, each.target)
    out.print(table if tags else "no tags; `mbpo tag NAME REF` sets one")


def _tagged(store: ArtifactStore, name: str | None, ref: str | None, delete: bool) -> str:
    if name is None:
        return ""
    if delete:
        if ref is not None:
            raise ValueError(f"--delete takes the tag alone: mbpo tag {name} --delete")
        return f"{name} was {delete_tag(store.root, name).target}"
    if ref is None:
        raise ValueError(f"say what to tag: mbpo tag {name} REF, as `mbpo ls` or `mbpo runs` lists")
    tables = {table for _, manifest in store.refs() for table in manifest.tables}
    if name in _NOT_TAGS | tables:
        raise ValueError(f"{name!r} is a stage or a table; a tag of that name would hide it")
    run = find_run(store.root, ref) if "/" not in ref else None
    new = Tag(name, run_id=run.run_id) if run else Tag(name, ref=store.resolve(ref))
    write_tag(store.root, new)
    return f"{name} is {new.target}"


def gc(
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove it; without, it is only told.")
    ] = False,
    keep_runs: Annotated[
        int, typer.Option(min=1, help="Keep what so many newest runs of each recipe used.")
    ] = 3,
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Only what is older than so many days.")
    ] = None,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Also what `mbpo doctor` put aside.")
    ] = False,
    root: Root = ROOT,
    as_json: AsJson = False,
) -> None:
    """Tell what nothing needs any more and why the rest stays; with --yes remove it.

    Stays: what is tagged, what the newest runs of each recipe and runs in progress use, what no
    run could make again, and all that these were made from.
    """
    days = None if older_than is None else timedelta(days=older_than)
    with errors_in_words():
        store = ArtifactStore(root)
        policy = Policy(keep_runs, days, irreplaceable)
        found = examine_garbage(store, policy, quarantine=quarantine)
        if not yes:
            _tell(found, as_json)
            return
        with progress_bar("remove") as tell:
            tell(0, sum(going.bytes for going in found.go))
            done = collect_garbage(
                store, policy, quarantine=quarantine, tell=lambda going: tell(going.bytes)
            )
        rebuild_catalog(store)
    if as_json:
        print_json({"gone": list(map(_row, done.gone)), "left": list(map(_row, done.left))})
        return
    for going in done.left:
        out.print(f"left alone, in work: {_name(going)}", markup=False)
    size = sum(going.bytes for going in done.gone)
    out.print(f"removed {len(done.gone)}, {size / 1e6:.1f} MB; the catalogue is rebuilt")


def _tell(found: Findings, as_json: bool) -> None:
    if as_json:
        print_json({"would_go": list(map(_row, found.go)), "stays": found.stay})
        return
    stay = Table("stays", "MB", "because")
    for each in found.stay:
        stay.add_row(each.name, f"{each.bytes / 1e6:.1f}", "\n".join(each.whys[:3]))
    print_wide(stay)
    if not found.go:
        out.print("nothing would go")
        return
    go = Table("would go", "what", "MB", "because")
    for each in found.go:
        go.add_row(_name(each), each.kind, f"{each.bytes / 1e6:.1f}", each.why)
    print_wide(go)
    size = sum(each.bytes for each in found.go)
    out.print(f"{len(found.go)}, {size / 1e6:.1f} MB would go; `mbpo gc --yes` with the same "
              "options removes them, `mbpo tag NAME REF` keeps one", soft_wrap=True)  # fmt: skip


def _name(going: Going) -> str:
    if going.ref:
        return going.ref.short
    return f"{going.stage}/{going.key[:8]}" if going.stage and going.key else going.path.name


def _row(going: Going) -> dict[str, object]:
    return {"name": _name(going), "kind": going.kind, "bytes": going.bytes, "why": going.why,
            "path": going.path}  # fmt: skip
