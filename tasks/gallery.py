"""What a miner did, to look at: samples of one `mine` artifact as a contact sheet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from PIL import Image

from mbpo_core.data.images import decode_png
from storage.refs import ArtifactRef
from storage.store import ArtifactStore
from tasks.contact_sheet import SheetRow, Style, contact_sheet
from tasks.rows import fetch, read

Row = dict[str, Any]
_SAMPLE = ("source_id", "image", "question", "response")
_NEGATIVE = (
    "image", "scope", "area", "recovered", "recovered_reason", "linf", "reason",
)  # fmt: skip
_REGION = (
    "sample_id", "rank", "phrase", "left", "top", "right", "bottom", "area", "image_score", "used",
    "reason",
)  # fmt: skip
_RESPONSE = ("sample_id", "source", "text", "reason")
_PARTS = ("finder", "inpainter", "ranker")
_AREA = {"crop": "of the image kept", "removal": "of the pixels differ"}
"""What the column `area` counts; else the pixels that the miner was allowed to change."""


@dataclass(frozen=True)
class Sources:
    """The artifacts that a sheet is drawn from."""

    samples: ArtifactRef
    mined: ArtifactRef
    responses: ArtifactRef | None
    """None where nothing was answered yet."""


def draw_gallery(store: ArtifactStore, text: str, count: int) -> tuple[Image.Image, ArtifactRef]:
    """Return the contact sheet of `count` samples of a mined artifact, and that artifact.

    `text` names it as in `ArtifactStore.resolve`, or one that was made from it. The samples are
    spread over the artifact and are the same ones in every call.
    Raises ValueError where no image was mined, StoreError for an artifact that is not there.
    """
    sources = find_sources(store, store.resolve(text))
    listed = _columns(store, sources.mined, "negatives", ("sample_id", "negative_id", "reason"))
    if not any(row["negative_id"] for row in listed):
        reasons = sorted({str(row["reason"]) for row in listed}) or ["it has no rows"]
        raise ValueError(f"{sources.mined.short} made no image at all: {', '.join(reasons)}")
    names = spread([row["sample_id"] for row in listed], count)
    words = title(store, sources, len(names), len(listed))
    return contact_sheet(words, _rows(store, sources, names)), sources.mined


def find_sources(store: ArtifactStore, ref: ArtifactRef) -> Sources:
    """Return the mined artifact that `ref` is or was made from, with its samples and responses.

    Responses: those on the way from `ref` back to the images, else the newest ones made from them.
    Raises ValueError where no images were mined on the way.
    """
    found: dict[str, ArtifactRef] = {}
    for upstream in with_upstream(store, ref):
        for table in store.manifest(upstream).tables:
            found.setdefault(table, upstream)
    if "negatives" not in found:
        raise ValueError(f"{ref.short} was made without mined images: there is nothing to show")
    mined = found["negatives"]
    return Sources(found["samples"], mined, found.get("responses") or _newest_answers(store, mined))


def spread(names: Sequence[str], count: int) -> list[str]:
    """Return up to `count` names, one from each of as many equal stretches of the sequence.

    Of a stretch the least name is taken, not the first: samples that stand in a fixed order of
    kinds (a caption, a colour, a place, ...) would else all be of one kind.
    """
    count = min(count, len(names))
    edges = [number * len(names) // count for number in range(count + 1)] if count else []
    return [min(names[a:b]) for a, b in pairwise(edges)]


def with_upstream(store: ArtifactStore, ref: ArtifactRef) -> Iterator[ArtifactRef]:
    """Yield an artifact and all that it was made from, the nearest first."""
    waiting, seen = [ref], {ref}
    while waiting:
        ref = waiting.pop(0)
        yield ref
        fresh = [made for made in store.manifest(ref).inputs.values() if made not in seen]
        waiting += fresh
        seen.update(fresh)


def _newest_answers(store: ArtifactStore, mined: ArtifactRef) -> ArtifactRef | None:
    for ref, manifest in reversed(store.refs()):
        if "responses" in manifest.tables and mined in manifest.inputs.values():
            return ref
    return None


def _columns(
    store: ArtifactStore, ref: ArtifactRef, table: str, wanted: Iterable[str]
) -> list[Row]:
    """Return all rows with those of the wanted columns that this version of the table has."""
    return read(store, ref, table, _present(store, ref, table, wanted))


def _present(
    store: ArtifactStore, ref: ArtifactRef, table: str, wanted: Iterable[str]
) -> list[str]:
    with store.parts(ref, table)[0].open() as part:
        there = part.schema_arrow.names
    return [name for name in wanted if name in there]


def _rows(store: ArtifactStore, sources: Sources, names: Sequence[str]) -> list[SheetRow]:
    columns = _present(store, sources.mined, "negatives", _NEGATIVE)
    negatives = fetch(store, sources.mined, "negatives", names, columns)
    samples = fetch(store, sources.samples, "samples", names, _SAMPLE)
    regions: dict[str, list[Row]] = defaultdict(list)
    if "regions" in store.manifest(sources.mined).tables:
        for row in _columns(store, sources.mined, "regions", _REGION):
            regions[row["sample_id"]].append(row)
    answers: dict[str, list[Row]] = defaultdict(list)
    for row in (
        _columns(store, sources.responses, "responses", _RESPONSE) if sources.responses else ()
    ):
        answers[row["sample_id"]].append(row)
    answered = sources.responses is not None
    kind = str(_settings(store, sources.mined).get("kind"))
    return [
        sheet_row(
            name, samples[name], negatives[name], regions[name], answers[name], answered, kind
        )
        for name in names
    ]


def sheet_row(
    name: str, sample: Row, negative: Row, regions: Sequence[Row], answers: Sequence[Row],
    answered: bool, kind: str,
) -> SheetRow:  # fmt: skip
    """Return what the sheet shows of one sample, from its rows in the tables.

    `answered` tells whether there is an artifact of responses at all, `kind` the miner's.
    """
    tried = sorted(regions, key=lambda row: row["rank"])
    boxes = [tuple(row[side] for side in ("left", "top", "right", "bottom")) for row in tried
             if row["used"] and row["left"] is not None]  # fmt: skip
    rejected = [_rejected(row) for row in answers]
    if not rejected:
        rejected = [("faint", "rejected: none" if answered else "rejected: no response yet")]
    return SheetRow(
        clean=_image(sample["image"]),
        negative=_image(negative["image"]) if negative["image"] else None,
        missing=f"no image: {negative['reason']}",
        boxes=tuple(boxes),
        texts=(
            ("faint", f"{sample['source_id']}  {name[:8]}"),
            ("plain", sample["question"]),
            ("good", f"chosen: {sample['response']}"),
            *rejected,
            *_mined(negative, tried, kind),
        ),
    )


def _rejected(answer: Row) -> tuple[Style, str]:
    source = f" ({answer['source']})" if answer.get("source") else ""
    refused = f" [refused: {answer['reason']}]" if answer["reason"] else ""
    return "bad", f"rejected{source}: {answer['text'] or ''}{refused}"


def _mined(negative: Row, tried: Sequence[Row], kind: str) -> Iterator[tuple[Style, str]]:
    if negative["image"] and (facts := _facts(negative, kind)):
        yield "faint", ", ".join(facts)
    if tried:
        yield "faint", "; ".join(_phrases(tried))


def _facts(negative: Row, kind: str) -> list[str]:
    facts = []
    if negative.get("recovered") is not None:
        facts.append(f"recovered {negative['recovered']:z.2f}")
    elif negative.get("recovered_reason"):
        facts.append(f"recovered undefined: {negative['recovered_reason']}")
    if negative.get("linf") is not None:
        facts.append(f"largest change {255 * negative['linf']:.0f}/255")
    if negative.get("scope") and negative["image"]:
        facts.append(f"scope {negative['scope']}")
    if negative.get("area") is not None:
        facts.append(f"{100 * negative['area']:.3g} % {_AREA.get(kind, 'of the pixels')}")
    return facts


def _phrases(tried: Sequence[Row]) -> Iterator[str]:
    """Yield each phrase with the number of its box, how much of the image its region covers (that
    can be far less than the box does), its score, and what became of it."""
    box = 0
    for row in tried:
        words = [row["phrase"]]
        if row["used"] and row["left"] is not None:
            box += 1
            words.insert(0, f"[{box}]")
        if row.get("area") is not None:
            words.append(f"on {100 * row['area']:.3g} %")
        if row.get("image_score") is not None:
            words.append(f"score {row['image_score']:.4g}")
        if not row["used"]:
            words.append(f"({row['reason'] or 'not used'})")
        yield " ".join(words)


def _image(stored: Row) -> Image.Image:
    return Image.fromarray(decode_png(stored["bytes"]))


def title(store: ArtifactStore, sources: Sources, shown: int, total: int) -> str:
    """Return the line above the sheet: artifact, miner, recipe, how many, whose responses."""
    manifest, settings = store.manifest(sources.mined), _settings(store, sources.mined)
    miner = ", ".join(_miner_words(settings)) or "unknown miner"
    answers = sources.responses.short if sources.responses else "no response yet"
    return (
        f"{sources.mined.short} ({miner}, recipe {manifest.recipe}): "
        f"{shown} of {total} samples; {answers}"
    )


def _settings(store: ArtifactStore, mined: ArtifactRef) -> Row:
    return store.manifest(mined).identity.get("config", {}).get("mine", {})


def _miner_words(settings: Row) -> Iterator[str]:
    """Yield what tells one sheet of a kind from another: `removal`, `finder cells`, ..."""
    if "kind" in settings:
        yield settings["kind"]
    if "scope" in settings:
        yield f"scope {settings['scope']}"
    if settings.get("scope", "regions") == "regions":
        yield from (f"{name} {settings[name]['kind']}" for name in _PARTS if name in settings)
