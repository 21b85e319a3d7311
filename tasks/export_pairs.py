"""Preference pairs as other trainers take them: which ones, and what stands in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mbpo_core.data.texts import IMAGE_TOKEN, SPECIAL_TOKEN
from storage.refs import ArtifactRef
from storage.store import ArtifactStore
from tasks.export_origin import Origin
from tasks.rows import fetch, read
from tasks.stage import slices

Row = dict[str, Any]
ROWS_AT_ONCE = 100
"""Pairs whose images are in memory together."""
_COLUMNS = ("group_id", "stream", "sample_id", "source", "image_id", "question", "candidates",
            "reason")  # fmt: skip
NO_PAIR, NO_REJECTED, IN_TEXT = "online_prompt", "no_rejected_text", "token_in_text"
_STILL_USABLE = ("not_reached",)
"""Training stopped before it came to them."""


@dataclass(frozen=True)
class Picture:
    """An image of a pair."""

    image_id: str
    png: bytes

    @property
    def name(self) -> str:
        """Return a file name."""
        return f"{self.image_id}.png"


@dataclass(frozen=True)
class Pair:
    """One question about one image with a better and a worse response.

    Both responses stand with the *clean* image, as in training, whatever image the rejected one
    was generated from.
    """

    group_id: str
    source: str
    """Where the rejected response comes from: `negative`, `clean`, `injected` or `dataset`."""
    question: str
    chosen: str
    rejected: str
    image: Picture
    negative: Picture | None
    """The image made by a miner, under which the chosen response is the worse one (mDPO)."""


@dataclass(frozen=True)
class Pairs:
    """The pairs of a `pair` artifact that training would use."""

    groups: list[Row]
    left_out: dict[str, int]
    """Groups that are no pair here, by reason."""
    samples: ArtifactRef
    mined: ArtifactRef
    with_negatives: bool


def find_pairs(store: ArtifactStore, origin: Origin, *, with_negatives: bool = False) -> Pairs:
    """Return which groups become pairs, and why the others do not.

    A group that says why it is none keeps its reason; where `origin` was trained on the groups,
    those that training refused keep that one. Raises ValueError where there are no groups at all.
    """
    paired = origin.need("pair")
    refused = _refused_in_training(store, origin)
    groups, left_out = [], Counter[str]()
    for group in read(store, paired, "groups", _COLUMNS):
        reason = _reason(group) or refused.get(group["group_id"])
        if reason is None:
            groups.append(group)
        else:
            left_out[reason] += 1
    inputs = store.manifest(paired).inputs
    return Pairs(groups, dict(sorted(left_out.items())), inputs["ingest"], inputs["mine"],
                 with_negatives)  # fmt: skip


def pairs_with_images(store: ArtifactStore, pairs: Pairs) -> Iterator[Pair]:
    """Yield the pairs in the order of the groups, some of their images read at a time."""
    for part in slices(len(pairs.groups), ROWS_AT_ONCE):
        groups = pairs.groups[part.start : part.stop]
        ids = sorted({group["sample_id"] for group in groups})
        clean = fetch(store, pairs.samples, "samples", ids, ["image"])
        wanted = sorted({g["sample_id"] for g in groups if pairs.with_negatives and _negative(g)})
        mined = fetch(store, pairs.mined, "negatives", wanted, ["image"]) if wanted else {}
        yield from (_pair(group, clean, mined) for group in groups)


def _pair(group: Row, clean: dict[str, Row], mined: dict[str, Row]) -> Pair:
    texts = {one["role"]: one["text"] for one in group["candidates"]}
    name, negative = group["sample_id"], _negative(group)
    return Pair(
        group_id=group["group_id"],
        source=group["source"],
        question=group["question"],
        chosen=texts["chosen"],
        rejected=texts["rejected"],
        image=Picture(group["image_id"], clean[name]["image"]["bytes"]),
        negative=Picture(negative, mined[name]["image"]["bytes"])
        if negative and name in mined
        else None,
    )


def _negative(group: Row) -> str | None:
    found = (one["image_id"] for one in group["candidates"] if one["role"] == "rejected_image")
    return next(found, None)


def _reason(group: Row) -> str | None:
    if group["stream"] == "online":
        return NO_PAIR
    if group["reason"] is not None:
        return group["reason"]
    texts = {one["role"]: one["text"] for one in group["candidates"]}
    if texts.get("rejected") is None:
        return NO_REJECTED
    said = (group["question"], texts["chosen"], texts["rejected"])
    if any(IMAGE_TOKEN in text or SPECIAL_TOKEN.search(text) for text in said):
        return IN_TEXT  # another program would take it for an image, or for the end of a turn
    return None


def _refused_in_training(store: ArtifactStore, origin: Origin) -> dict[str, str]:
    if "train" not in origin.upstream:
        return {}
    rows = read(store, origin.upstream["train"], "train_groups", ["group_id", "reason"])
    return {row["group_id"]: row["reason"] for row in rows
            if row["reason"] is not None and row["reason"] not in _STILL_USABLE}  # fmt: skip
