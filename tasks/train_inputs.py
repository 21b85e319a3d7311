"""What training reads of the store: groups, and their images when they are asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from mbpo_core.grouping import Candidate, Group
from mbpo_core.models.protocol import Policy
from tasks.rows import fetch, pixels, read, read_where
from tasks.stage import Job

CACHED_IMAGES = 256
COLUMNS = (
    "group_id", "stream", "sample_id", "image_id", "question", "candidates", "difficulty",
    "closed_kind", "closed_answer", "options", "reason",
)  # fmt: skip
UNUSED_STREAM = "stream_not_trained"
NO_DIFFICULTY = "no_difficulty"
"""An easy-to-hard curriculum cannot rank it: its answer entropy was not measured."""


def group_rows(job: Job) -> list[dict[str, Any]]:
    """Return the stored groups of both streams, with the sizes of their images in pixels.

    Those that cannot be trained on are among them.
    """
    groups = read(job.store, job.inputs["pair"], "groups", COLUMNS)
    named = pa.array(sorted({group["sample_id"] for group in groups}), pa.string())
    columns = ["sample_id", "height", "width"]
    found = read_where(job.store, job.inputs["ingest"], "samples", columns,
                       lambda rows: pc.is_in(rows["sample_id"], value_set=named))  # fmt: skip
    sizes = {row.pop("sample_id"): row for row in found.to_pylist()}
    return [group | sizes[group["sample_id"]] for group in groups]


class StoredImages(Mapping[str, Tensor]):
    """Clean and negative images by image id, read from the store when they are asked for."""

    def __init__(self, job: Job, groups: list[dict[str, Any]]) -> None:
        self._job = job
        self._places: dict[str, tuple[str, str, str]] = {}
        for row in groups:
            self._places[row["image_id"]] = ("ingest", "samples", row["sample_id"])
            for candidate in row["candidates"]:
                if candidate["role"] == "rejected_image":
                    place = ("mine", "negatives", row["sample_id"])
                    self._places[candidate["image_id"]] = place
        self._cache: OrderedDict[str, Tensor] = OrderedDict()

    def __getitem__(self, image_id: str) -> Tensor:
        """Return uint8 [3, H, W]."""
        if image_id not in self._cache:
            stage, table, name = self._places[image_id]
            rows = fetch(self._job.store, self._job.inputs[stage], table, [name], ["image"])
            self._cache[image_id] = pixels(rows[name]["image"])
            if len(self._cache) > CACHED_IMAGES:
                self._cache.popitem(last=False)
        self._cache.move_to_end(image_id)
        return self._cache[image_id]

    def __contains__(self, image_id: object) -> bool:
        """Look without reading."""
        return image_id in self._places

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids."""
        return iter(self._places)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._places)


def group_of(row: dict[str, Any]) -> Group:
    """Return a stored group as training reads it."""
    online = row["stream"] == "online"
    return Group(
        group_id=row["group_id"],
        stream=row["stream"],
        sample_id=row["sample_id"],
        image_id=row["image_id"],
        question=row["question"],
        difficulty=row["difficulty"],
        candidates=tuple(
            Candidate(
                role=c["role"],
                text=c["text"],
                image_id=c["image_id"],
                generated_from=c["generated_from"],
                token_ids=None if c["token_ids"] is None else tuple(c["token_ids"]),
            )
            for c in row["candidates"]
        ),
        kind=row["closed_kind"] if online else None,
        answer=row["closed_answer"] if online else None,
        options=tuple((o["letter"], o["text"]) for o in row["options"] or ()) if online else (),
    )


def unfit(policy: Policy, row: dict[str, Any], max_new_tokens: int) -> str | None:
    """Return why a group cannot be trained on, though it is whole; None if it can.

    `too_long` (never cut), or `special_token` (it would be read as one, not as text).
    """
    try:
        prompt = len(policy.prompt_ids(row["question"], row["height"], row["width"]))
        responses = [len(c["token_ids"] or policy.response_ids(c["text"]))
                     for c in row["candidates"]]  # fmt: skip
    except ValueError:
        return "special_token"
    return "too_long" if prompt + max(responses or [max_new_tokens]) > policy.max_length else None
