"""Which checkpoints of a run are whole.

Every rank writes a part of a checkpoint, so no file of it is the last one. It counts once a list of
its files stands beside them, which is written when all ranks are done; older checkpoints are
deleted after that, so that a kill at any moment leaves one to go on from.
"""

import json
import logging
import os
import shutil
from pathlib import Path

logger = logging.getLogger(__name__)

SEAL = "whole.json"


def seal(checkpoint: Path, layout: str) -> None:
    """List the files of a finished checkpoint with their sizes in bytes.

    Args:
        checkpoint: its folder, to which no rank writes any more.
        layout: how its parameters are stored; only a run of the same layout can read them.
    """
    record = {"layout": layout, "files": _sizes(checkpoint)}
    fresh = checkpoint / f"{SEAL}.partial"
    fresh.write_text(json.dumps(record, indent=1), encoding="utf-8")
    os.replace(fresh, checkpoint / SEAL)


def keep_newest(output_dir: Path, count: int) -> None:
    """Delete all checkpoints but the newest `count`."""
    for folder in sorted(_folders(output_dir), key=step_of)[:-count]:
        shutil.rmtree(folder)


def newest_checkpoint(output_dir: Path, layout: str) -> Path | None:
    """The newest whole checkpoint; those that were cut by a kill are deleted.

    Raises:
        ValueError: where it was written in another layout.
    """
    whole: dict[Path, str] = {}
    for folder in _folders(output_dir):
        record = _sealed(folder)
        if record is None or not record["files"].items() <= _sizes(folder).items():
            logger.warning("%s was not written to its end and is removed", folder.name)
            shutil.rmtree(folder)
        else:
            whole[folder] = record["layout"]
    newest = max(whole, key=step_of, default=None)
    if newest is not None and whole[newest] != layout:
        raise ValueError(
            f"{newest.name} was written with {whole[newest]} and cannot be resumed with {layout}: "
            "launch the run as it was begun"
        )
    return newest


def step_of(checkpoint: Path | None) -> int:
    """Optimiser steps done; -1 without a checkpoint."""
    return int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else -1


def _folders(output_dir: Path) -> list[Path]:
    return list(output_dir.glob("checkpoint-*"))


def _sealed(checkpoint: Path) -> dict | None:
    try:
        return json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _sizes(checkpoint: Path) -> dict[str, int]:
    return {
        str(path.relative_to(checkpoint)): path.stat().st_size
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file()
    }
