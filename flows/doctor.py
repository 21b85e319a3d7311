"""`mbpo doctor`: is every byte of the store what was written, and what to do where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.console import (
    ROOT,
    AsJson,
    Devices,
    Root,
    Workers,
    err,
    errors_in_words,
    out,
    print_json,
    runtime_of,
)
from flows.progress import progress_bar
from storage.catalog import rebuild_catalog
from storage.doctor import Damage, examine
from storage.store import ArtifactStore

if TYPE_CHECKING:
    from tasks.repair import Repaired


def doctor(
    repair_it: Annotated[
        bool, typer.Option("--repair", help="Put damage aside and compute it again.")
    ] = False,
    root: Root = ROOT, workers: Workers = None, devices: Devices = "auto",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Check every byte of the store; with --repair mend what is damaged.

    Exit status 0: all is as it was written, or has been mended. 1: damage is left.
    """
    with errors_in_words():
        if not root.is_dir():
            raise ValueError(f"no store at {root}; `mbpo run` makes one, --root says where")
        found = _examined(ArtifactStore(root))
        if not as_json:
            _tell(found, root)
        repaired = _repaired(found, root, workers, devices, as_json) if repair_it and found else []
    left = [r.damage for r in repaired if not r.mended] if repair_it else found
    if as_json:
        print_json({"damaged": found, "repaired": repaired, "left": len(left)})
    elif left:
        hint = "" if repair_it else "; `mbpo doctor --repair` mends them"
        out.print(f"{len(left)} damaged{hint}")
    elif found:
        out.print("all mended")
    if left:
        raise typer.Exit(1)


def _tell(found: list[Damage], root: Path) -> None:
    for damage in found:
        out.print(f"{damage.kind} {_name(damage, root)}", markup=False, soft_wrap=True)
        for problem in damage.problems:
            out.print(f"  {problem}", markup=False, soft_wrap=True)
    if not found:
        out.print("nothing is damaged")


def _examined(store: ArtifactStore) -> list[Damage]:
    artifacts = (store.root / "artifacts").rglob("*")
    total = sum(path.stat().st_size for path in artifacts if path.is_file())
    with progress_bar("examine") as tell:
        tell(0, total)
        return list(examine(store, lambda path, size: tell(size)))


def _repaired(
    found: list[Damage], root: Path, workers: int | None, devices: str, quiet: bool
) -> list[Repaired]:
    """Mend all and return what became of each."""
    from tasks.pool import WorkerPool
    from tasks.repair import repair

    def tell(one: Repaired) -> None:
        said = f"{_name(one.damage, root)}: {one.said}"
        (err if quiet else out).print(said, markup=False, soft_wrap=True)

    # What was committed once was accepted then, failed rows and all.
    runtime = runtime_of(root, workers, devices, how=["max_failures=1"])
    with WorkerPool(runtime) as pool:
        results = repair(found, runtime, pool, tell=tell)
    rebuild_catalog(ArtifactStore(root))
    return results


def _name(damage: Damage, root: Path) -> str:
    return str(damage.path.relative_to(root.absolute()))
