"""Records become samples: turns, images and closed-ended answers joined, nothing lost."""

from __future__ import annotations

import hashlib
import logging
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from mbpo_core.data.closed_ended import detect_closed_ended
from mbpo_core.data.conversations import RawSample, RefusedTurn, read_turns
from mbpo_core.data.images import ImagePolicy, PreparedImage, prepare_image
from mbpo_core.data.sources import ImageRoot, image_size, read_image
from mbpo_core.records import Reason, Refusal, Sample

__all__ = ["Repeats", "Sample", "read_samples", "sample_id"]

logger = logging.getLogger(__name__)
_CACHED_IMAGES = 64
"""Neighbouring records often share an image."""


def sample_id(image_sha: str, question: str, response: str, rejected: str | None = None) -> str:
    """Return the identity of a sample by content.

    Args:
        image_sha: sha256 (hexadecimal) of the bytes of the image *file*, so that the id does not
            depend on the policy for images and can be had without decoding.
        question: text without `<image>`.
        response: gold response.
        rejected: rejected response; None leaves the id as it is without one. Preference sets hold
            several pairs for one question, so it takes part where there is one.

    The turn does not enter: as earlier turns are no context, it changes nothing.
    """
    return _digest("sample", image_sha, question, response, *_present(rejected))


def read_samples(
    records: Sequence[Any],
    part: range,
    *,
    image_root: ImageRoot,
    policy: ImagePolicy,
    long_yes_no: bool,
    repeats: Repeats | None = None,
) -> list[Sample]:
    """Read the records of one part; each gives at least one row, and no two rows share an id.

    Args:
        records: all records of the source. Those before the part are looked at only to find out
            which rows of the part repeat them, so parts may be read in any order or apart.
        part: positions of the records to read; its step is 1.
        image_root: folder that image paths are relative to.
        policy: size and bounds of the images.
        long_yes_no: see `detect_closed_ended`.
        repeats: of the same records; whoever reads several parts makes it once, so that the texts
            of earlier records are not read again for every part.

    Returns:
        Rows in the order of records and turns. A bad record or image is a row with a reason.

    Raises:
        ValueError: the part does not lie within the records.
    """
    if part.step != 1 or not 0 <= part.start <= max(part.start, part.stop) <= len(records):
        raise ValueError(f"expected a part of range({len(records)}), got {part}")
    turns = [(index, turn) for index in part for turn in read_turns(records[index])]
    load, prepare = _cached_readers(image_root, policy)
    repeats = repeats or Repeats(records, image_root)
    seen = _earlier_ids(repeats, part.start, turns, image_root, load)
    rows = []
    for index, turn in turns:
        sample = _sample(index, turn, load, prepare, long_yes_no)
        if sample.reason is None and sample.sample_id in seen:
            sample = _duplicate(sample)
        seen.add(sample.sample_id)
        rows.append(sample)
    return rows


_Load = Callable[[str | bytes], tuple[bytes, str] | Refusal]
_Prepare = Callable[[str | bytes], PreparedImage | Refusal]


def _cached_readers(root: ImageRoot, policy: ImagePolicy) -> tuple[_Load, _Prepare]:
    """Return how to get (bytes, sha256) of an image file, and the prepared image."""

    @lru_cache(maxsize=_CACHED_IMAGES)
    def load(reference: str | bytes) -> tuple[bytes, str] | Refusal:
        data = read_image(reference, root)
        return data if isinstance(data, Refusal) else (data, hashlib.sha256(data).hexdigest())

    @lru_cache(maxsize=_CACHED_IMAGES)
    def prepare(reference: str | bytes) -> PreparedImage | Refusal:
        loaded = load(reference)
        return loaded if isinstance(loaded, Refusal) else prepare_image(loaded[0], policy)

    return load, prepare


def _sample(
    index: int, turn: RawSample | RefusedTurn, load: _Load, prepare: _Prepare, long_yes_no: bool
) -> Sample:
    if isinstance(turn, RefusedTurn):
        return _refused(index, turn, turn.refusal)
    try:
        return _read_sample(index, turn, load, prepare, long_yes_no)
    except Exception as error:  # a row that nobody foresaw stops no shard; its count may
        logger.exception("record %d, turn %d", index, turn.turn)
        said = f"{type(error).__name__}: {error}"[:200]
        return _refused(index, turn, Refusal(Reason.ERROR, said))


def _read_sample(
    index: int, turn: RawSample, load: _Load, prepare: _Prepare, long_yes_no: bool
) -> Sample:
    loaded = load(turn.image)
    if isinstance(loaded, Refusal):
        return _refused(index, turn, loaded)
    image = prepare(turn.image)
    if isinstance(image, Refusal):
        return _refused(index, turn, image)
    closed = detect_closed_ended(turn.question, turn.answer, long_yes_no=long_yes_no)
    return Sample(
        sample_id=sample_id(loaded[1], turn.question, turn.answer, turn.rejected),
        source_id=turn.source_id,
        source_index=index,
        turn=turn.turn,
        image_id=image.image_id,
        image_png=image.png,
        height=image.height,
        width=image.width,
        question=turn.question,
        response=turn.answer,
        rejected=turn.rejected,
        closed_kind=closed.kind if closed else None,
        closed_answer=closed.answer if closed else None,
        options=closed.options if closed else (),
    )


def _refused(index: int, turn: RawSample | RefusedTurn, refusal: Refusal) -> Sample:
    place = _digest("refused", str(index), str(turn.turn), refusal.reason)
    return Sample(
        place, turn.source_id, index, turn.turn, None, None, None, None,
        turn.question, turn.answer, turn.rejected, reason=refusal.reason, detail=refusal.detail,
    )  # fmt: skip


def _duplicate(sample: Sample) -> Sample:
    texts = (sample.question, sample.response, sample.rejected)
    turn = RawSample(sample.source_id, sample.turn, b"", *texts)
    refusal = Refusal(Reason.DUPLICATE, f"same content as sample {sample.sample_id}")
    return _refused(sample.source_index, turn, refusal)


class Repeats:
    """Where the texts stand that a source has more than once, to find what a record repeats.

    Memory: 32 bytes a turn while the source is read, then only what is repeated; no image.
    """

    def __init__(self, records: Sequence[Any], image_root: ImageRoot) -> None:
        """Read the texts of all records, once."""
        self._records = records
        self._root = image_root
        self._places: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._sizes: dict[tuple[int, int], int | None] = {}
        for text, index, turn, size in _repeated(records):
            self._places[text].append((index, turn))
            if size >= 0:
                self._sizes[index, turn] = size

    def before(self, start: int, turn: RawSample, size: int | None) -> Iterator[RawSample]:
        """Yield turns of records before `start` with these texts and an image of this size."""
        for place in self._places.get(_texts(turn), ()):
            if place[0] >= start:
                return
            if place not in self._sizes:
                self._sizes[place] = image_size(self._turn(place).image, self._root)
            if self._sizes[place] == size:
                earlier = self._turn(place)
                if _same_texts(earlier, turn):  # equal short hashes are no proof
                    yield earlier

    def _turn(self, place: tuple[int, int]) -> RawSample:
        index, number = place
        turns = read_turns(self._records[index])
        return next(t for t in turns if isinstance(t, RawSample) and t.turn == number)


def _repeated(records: Sequence[Any]) -> Iterator[tuple[int, int, int, int]]:
    """Yield text, record, turn and size of image (-1 = a file) where a text stands elsewhere too.

    In the order of the records.
    """
    found = array("q")
    for index, record in enumerate(records):
        for turn in read_turns(record):
            if isinstance(turn, RawSample):
                size = len(turn.image) if isinstance(turn.image, bytes) else -1
                found.extend((_texts(turn), index, turn.turn, size))
    turns = np.frombuffer(found, np.int64).reshape(-1, 4)
    _, which, counts = np.unique(turns[:, 0], return_inverse=True, return_counts=True)
    yield from map(tuple, turns[counts[which] > 1].tolist())


def _texts(turn: RawSample) -> int:
    """Return a hash of 64 bits."""
    texts = _digest("texts", turn.question, turn.answer, *_present(turn.rejected))
    return int.from_bytes(bytes.fromhex(texts[:16]), signed=True)


def _same_texts(one: RawSample, other: RawSample) -> bool:
    return (one.question, one.answer, one.rejected) == (
        other.question, other.answer, other.rejected)  # fmt: skip


def _earlier_ids(
    repeats: Repeats,
    start: int,
    turns: Sequence[tuple[int, RawSample | RefusedTurn]],
    root: ImageRoot,
    load: _Load,
) -> set[str]:
    """Return ids of earlier records that turns of the part may repeat.

    Only files of equal size under equal texts can be equal, so few have to be read.
    """
    asked, ids = set(), set()
    for _, turn in turns:
        if isinstance(turn, RawSample):
            size = image_size(turn.image, root)
            texts = (turn.question, turn.answer, turn.rejected)
            if (case := (*texts, size)) not in asked:
                asked.add(case)
                for earlier in repeats.before(start, turn, size):
                    loaded = load(earlier.image)
                    if not isinstance(loaded, Refusal):
                        ids.add(sample_id(loaded[1], *texts))
    return ids


def _present(rejected: str | None) -> tuple[str, ...]:
    return () if rejected is None else (rejected,)


def _digest(*parts: str) -> str:
    """Return sha256 of the parts; lengths stand before them, so that borders cannot shift."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()
