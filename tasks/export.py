"""What `mbpo export` writes: which formats an artifact has, and each as one whole folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.outgoing import MARK, new_folder
from storage.store import ArtifactStore
from tasks import export_llamafactory, export_trl
from tasks.export_cards import data_card, model_card, public_recipe
from tasks.export_model import model_files, write_model
from tasks.export_origin import Origin, origin_of
from tasks.export_pairs import Pairs, find_pairs, pairs_with_images
from tasks.export_tables import DATA, table_bytes, tables_of, write_tables
from tasks.export_words import ABOUT_PAIRS, pair_table, use_of

FORMATS = ("transformers", "datasets", "trl", "llamafactory")
DTYPES = ("float32", "bfloat16", "float16")
_WRITERS = {"trl": export_trl.write_trl, "llamafactory": export_llamafactory.write_llamafactory}

Tell = Callable[..., None]
"""Called as (amount, total): how much more is done, and of how much once that is known."""


@dataclass(frozen=True)
class Asked:
    """What is to be exported, and how."""

    ref: str
    """As `ArtifactStore.resolve` reads it."""
    target: Path
    format: str | None = None
    """One of `FORMATS`; None = transformers for a checkpoint, else datasets."""
    dtype: str | None = None
    """Of a checkpoint's weights; None = as training wrote them."""
    with_negatives: bool = False
    """Of pairs: also the image that a miner made."""
    force: bool = False
    """Replace a folder that is there."""

    def __post_init__(self) -> None:
        for name, given, known in (("format", self.format, FORMATS), ("dtype", self.dtype, DTYPES)):
            if given is not None and given not in known:
                raise ValueError(f"unknown {name} {given!r}; there are {', '.join(known)}")


@dataclass(frozen=True)
class Exported:
    """What was written."""

    ref: str
    format: str
    path: Path
    rows: dict[str, int] = field(default_factory=dict)
    """By table; of a checkpoint none."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Groups that are no pair, by reason."""
    files: int = 0
    bytes: int = 0


def export(store: ArtifactStore, asked: Asked, tell: Tell) -> Exported:
    """Write what is asked for and return what was written; nothing half-written is ever visible.

    Raises:
        ValueError: the artifact has no such format, or the folder cannot be taken.
        StoreError: the artifact, or something that it was made from, is not there or damaged; the
            disk is full.
    """
    origin = origin_of(store, store.resolve(asked.ref))
    kind = asked.format or ("transformers" if origin.ref.stage == "train" else "datasets")
    if kind == "transformers":
        origin = origin_of(store, origin.upstream.get("train", origin.ref))
    elif asked.dtype is not None:
        raise ValueError(f"--dtype is for `--as transformers`; {kind} has no weights")
    if asked.with_negatives and kind not in _WRITERS:
        raise ValueError(
            f"`--images negative` is for `--as trl` and `--as llamafactory`, not {kind}"
        )
    prepared = _PREPARED.get(kind, _pairs)(store, origin, kind, asked, tell)
    with new_folder(asked.target, root=store.root, force=asked.force) as folder:
        rows, left_out = prepared(folder)
        if (recipe := public_recipe(origin)) is not None:
            (folder / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n")
        files, size = _sealed(folder, origin, kind)
    return Exported(origin.ref.short, kind, asked.target.absolute(), rows, left_out, files, size)


Written = tuple[dict[str, int], dict[str, int]]
Write = Callable[[Path], Written]


def _model(store: ArtifactStore, origin: Origin, kind: str, asked: Asked, tell: Tell) -> Write:
    """Check that there is a model, and return what writes it."""
    files = model_files(origin.manifest)

    def write(folder: Path) -> Written:
        tell(0, sum(file.bytes for file in files))
        write_model(files, store.path(origin.ref) / "files", folder, asked.dtype, tell)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        dtype = config.get("dtype") or config.get("torch_dtype") or "float32"
        _write_card(folder, model_card(store, origin, dtype))
        return {}, {}

    return write


def _tables(store: ArtifactStore, origin: Origin, kind: str, asked: Asked, tell: Tell) -> Write:
    manifest = origin.manifest
    said = {"reasons_said": "Rows without a `reason` were kept; with one"}
    tables = [table | said for table in tables_of(store, origin.ref, manifest)]

    def write(folder: Path) -> Written:
        tell(0, table_bytes(manifest))
        write_tables(store, manifest, folder, tell)
        card = data_card(
            store, origin, title=f"mbpo {manifest.artifact}", tables=tables, use=use_of(kind),
            about=f"The tables of the stage `{origin.ref.stage}` of mbpo (arXiv 2506.08022).",
            configs=[{"name": each["name"], "path": f"{DATA}/{each['name']}/*.parquet"}
                     for each in tables if each["rows"]],
            exported="mbpo export {ref} --as datasets --out FOLDER",
        )  # fmt: skip
        _write_card(folder, card)
        return {table["name"]: table["rows"] for table in tables}, {}

    return write


def _pairs(store: ArtifactStore, origin: Origin, kind: str, asked: Asked, tell: Tell) -> Write:
    pairs = find_pairs(store, origin, with_negatives=asked.with_negatives)
    if not pairs.groups:
        counted = ", ".join(f"{count} {reason}" for reason, count in pairs.left_out.items())
        raise ValueError(f"no group of {origin.need('pair').short} is a pair: {counted}")

    def write(folder: Path) -> Written:
        tell(0, len(pairs.groups))
        _WRITERS[kind](pairs_with_images(store, pairs), folder, asked.with_negatives, tell)
        _write_card(folder, _card_of_pairs(store, origin, kind, pairs))
        return {export_trl.NAME: len(pairs.groups)}, pairs.left_out

    return write


_PREPARED = {"transformers": _model, "datasets": _tables}


def _card_of_pairs(store: ArtifactStore, origin: Origin, kind: str, pairs: Pairs) -> str:
    name, option = export_trl.NAME, " --images negative" if pairs.with_negatives else ""
    return data_card(
        store, origin, title="mbpo preference pairs", about=ABOUT_PAIRS, use=use_of(kind),
        tables=[pair_table(kind, pairs)], tags=("preference", "dpo"),
        configs=[{"name": name, "path": f"{DATA}/{name}/*.parquet"}] if kind == "trl" else [],
        exported=f"mbpo export {{ref}} --as {kind}{option} --out FOLDER",
    )  # fmt: skip


def _write_card(folder: Path, text: str) -> None:
    (folder / "README.md").write_text(text, encoding="utf-8")


def _sealed(folder: Path, origin: Origin, kind: str) -> tuple[int, int]:
    """Write what this export is, with the size of every file; return how many, and their bytes."""
    sizes = {str(path.relative_to(folder)): path.stat().st_size
             for path in sorted(folder.rglob("*")) if path.is_file()}  # fmt: skip
    record: dict[str, Any] = {"artifact": origin.ref.to_dict(), "format": kind, "files": sizes}
    (folder / MARK).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return len(sizes) + 1, sum(sizes.values()) + (folder / MARK).stat().st_size
