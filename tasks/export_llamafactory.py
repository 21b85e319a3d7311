"""Pairs as LLaMA-Factory reads them: sharegpt with a ranking, and images as files beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mbpo_core.data.texts import IMAGE_TOKEN
from storage.outgoing import Advance
from tasks.export_pairs import Pair, Picture

NAME = "mbpo_pairs"
"""Of the data set, as `dataset:` names it in LLaMA-Factory's settings."""
IMAGES = "images"
NEGATIVE = "rejected_images"
"""Key of the negative images, which LLaMA-Factory does not read."""
DESCRIPTION = {
    NAME: {
        "file_name": f"{NAME}.json",
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected",
                    "images": IMAGES},
    }
}  # fmt: skip


def record_of(pair: Pair, with_negatives: bool) -> dict[str, Any]:
    """Return a pair as LLaMA-Factory reads it; image files are named relative to the folder."""
    record: dict[str, Any] = {
        "conversations": [{"from": "human", "value": f"{IMAGE_TOKEN}\n{pair.question}"}],
        "chosen": {"from": "gpt", "value": pair.chosen},
        "rejected": {"from": "gpt", "value": pair.rejected},
        IMAGES: [f"{IMAGES}/{pair.image.name}"],
        "id": pair.group_id,
    }
    if with_negatives:
        record[NEGATIVE] = [f"{IMAGES}/{pair.negative.name}"] if pair.negative else []
    return record


def write_llamafactory(
    pairs: Iterable[Pair], target: Path, with_negatives: bool, advance: Advance
) -> None:
    """Write the list, its description and each image once below `target`; counts pairs."""
    (target / IMAGES).mkdir()
    with (target / f"{NAME}.json").open("w", encoding="utf-8") as file:
        before = "[\n"
        for pair in pairs:
            file.write(before + json.dumps(record_of(pair, with_negatives), ensure_ascii=False))
            before = ",\n"
            for picture in (pair.image, pair.negative):
                if picture is not None:
                    _write_once(target / IMAGES, picture)
            advance(1)
        file.write("[]\n" if before == "[\n" else "\n]\n")
    description = json.dumps(DESCRIPTION, indent=2) + "\n"
    (target / "dataset_info.json").write_text(description, encoding="utf-8")


def _write_once(folder: Path, picture: Picture) -> None:
    path = folder / picture.name
    if not path.exists():
        path.write_bytes(picture.png)
