"""One raw record of a visual-instruction or preference set becomes questions with responses.

Read are the LLaVA format (`conversations` of `from`/`value`), the LLaMA-Factory format (`messages`
of `role`/`content`, `images`), lists of `question`/`answer` (MMEvol's `conversations_v0`), a single
`question`/`answer` in the record itself, and the preference sets of `preferences`. The evolved
rounds of MMEvol (`conversations_v1` and later) are not read: the paper's data are the seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mbpo_core.data.messages import (
    CONVERSATION_KEYS,
    BadRecord,
    Turn,
    conversation,
    mentions_image,
    messages,
    pair_up,
    text_of,
)
from mbpo_core.data.preferences import preference_turns
from mbpo_core.data.texts import (
    IMAGE_TOKEN,
    SPECIAL_TOKEN,
    is_encodable,
    normalised,
    without_image_token,
)
from mbpo_core.records import Reason, Refusal

_ID_KEYS: Final = ("id", "hash_id", "idx")
_IMAGE_KEYS: Final = ("image", "images")
_PATH_KEYS: Final = ("image_path", "img_path")
"""Looked at only where the others name no image: RLAIF-V has bytes and the original path."""

ImageReference = str | bytes


@dataclass(frozen=True)
class RawSample:
    """One turn of one record, before its image is opened."""

    source_id: str
    """The record's `id` as text; empty where it has none."""
    turn: int
    """Position of the question within the conversation, or of the pair in the record, from 0."""
    image: ImageReference
    """Path as written in the record, or the bytes of the image file."""
    question: str
    """Text of the user's turn without `<image>`, stripped."""
    answer: str
    """The gold (or chosen) response, stripped."""
    rejected: str | None = None
    """The rejected response, stripped; None where the record has none for this turn."""


@dataclass(frozen=True)
class RefusedTurn:
    """One turn, or a whole record (turn 0), that is no sample."""

    source_id: str
    """As in `RawSample`."""
    turn: int
    """As in `RawSample`."""
    refusal: Refusal
    """Why."""
    question: str = ""
    """What could be read of the question."""
    answer: str = ""
    """What could be read of the response."""
    rejected: str | None = None
    """What could be read of the rejected response."""


def read_turns(record: Any) -> list[RawSample | RefusedTurn]:
    """Split a record into its turns; each question with the response that follows is one row.

    Earlier turns are *not* context: every question stands alone with the image (assumed; the paper
    does not say). System messages are dropped: the chat template brings its own. A record whose
    first turn does not say `<image>` but that names an image is read as if it did; a turn before
    the first `<image>` is refused. Text is stripped at both ends. In a preference record a turn has
    a rejected response where the two sides differ in it.

    Args:
        record: anything; what is not a mapping is refused.

    Returns:
        At least one row. Never raises on a bad record.
    """
    if isinstance(record, Refusal):
        return [RefusedTurn("", 0, record)]
    if not isinstance(record, Mapping):
        bad = Refusal(Reason.MALFORMED_RECORD, f"expected an object, got {type(record).__name__}")
        return [RefusedTurn("", 0, bad)]
    source_id = _source_id(record)
    try:
        turns = _turns(record)
        image = _image(record)
    except BadRecord as error:
        return [RefusedTurn(source_id, 0, error.refusal)]
    shown = [mentions_image(turn.question) for turn in turns]
    first_shown = shown.index(True) if any(shown) else 0
    return [
        _row(source_id, index, turn, image, comes_before_image=index < first_shown)
        for index, turn in enumerate(turns)
    ]


def _source_id(record: Mapping[str, Any]) -> str:
    value = next((record[key] for key in _ID_KEYS if record.get(key) is not None), "")
    return str(value).encode("utf-8", "replace").decode("utf-8") if _is_plain(value) else ""


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int)


def _turns(record: Mapping[str, Any]) -> Sequence[Turn]:
    turns = preference_turns(record)
    if turns is None:
        turns = list(pair_up(_said(record)))
    if not turns:
        raise BadRecord(Reason.MALFORMED_RECORD, "the conversation has no turns")
    return turns


def _said(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
    said = conversation(record)
    if said is not None:
        return said
    if "question" in record:
        return list(messages(record))
    expected = ", ".join((*CONVERSATION_KEYS, "question"))
    raise BadRecord(Reason.MALFORMED_RECORD, f"expected one of the keys {expected}")


def _image(record: Mapping[str, Any]) -> ImageReference:
    """Return the one image of a record."""
    for keys in (_IMAGE_KEYS, _PATH_KEYS):
        found = [one for key in keys for one in _as_list(record.get(key))]
        references = [_reference(one) for one in found]
        if len(references) > 1:
            raise BadRecord(Reason.SEVERAL_IMAGES, f"{len(references)} images")
        if references:
            return references[0]
    raise BadRecord(Reason.NO_IMAGE, "the record names no image")


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, Mapping) and not value.get("bytes") and not value.get("path"):
        return []
    items = value if isinstance(value, list | tuple) else [value]
    return [item for item in items if item is not None and item not in ("", b"")]


def _reference(value: Any) -> ImageReference:
    """Return a path or bytes; `{bytes, path}` is how `datasets` stores an image."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
        if value is None or value == "":
            raise BadRecord(Reason.NO_IMAGE, "the image has neither bytes nor path")
    if isinstance(value, str):
        if is_encodable(value):
            return value
        raise BadRecord(Reason.MALFORMED_RECORD, "the image's path is not valid Unicode")
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    kind = type(value).__name__
    raise BadRecord(Reason.MALFORMED_RECORD, f"expected a path or bytes of an image, got {kind}")


def _row(
    source_id: str, index: int, turn: Turn, image: ImageReference, *, comes_before_image: bool
) -> RawSample | RefusedTurn:
    try:
        question, answer = text_of(turn.question), text_of(turn.answer)
    except BadRecord as error:
        return RefusedTurn(source_id, index, error.refusal)
    refusal = _refusal(question, answer, 0 if turn.again else index, comes_before_image)
    question, answer = without_image_token(question), answer.strip()
    rejected, bad_rejected = _rejected(turn, answer)
    refusal = refusal or bad_rejected
    if refusal is not None:
        return RefusedTurn(source_id, index, refusal, question, answer, rejected)
    return RawSample(source_id, index, image, question, answer, rejected)


def _refusal(question: str, answer: str, index: int, comes_before_image: bool) -> Refusal | None:
    special = SPECIAL_TOKEN.search(question) or SPECIAL_TOKEN.search(answer)
    checks = (
        (not without_image_token(question), Reason.EMPTY_QUESTION, "no text to ask with"),
        (not answer.strip(), Reason.EMPTY_RESPONSE, "no text to learn from"),
        (comes_before_image, Reason.NO_IMAGE, "the image comes in a later turn"),
        (IMAGE_TOKEN in answer, Reason.IMAGE_IN_LATER_TURN, "`<image>` in the response"),
        (index > 0 and IMAGE_TOKEN in question, Reason.IMAGE_IN_LATER_TURN, f"turn {index}"),
        (question.count(IMAGE_TOKEN) > 1, Reason.SEVERAL_IMAGES, "`<image>` stands twice"),
        (special is not None, Reason.SPECIAL_TOKEN, special.group() if special else ""),
    )
    return next((Refusal(reason, detail) for found, reason, detail in checks if found), None)


def _rejected(turn: Turn, answer: str) -> tuple[str | None, Refusal | None]:
    """Return the rejected text of a turn, if it has one, and what is wrong with it."""
    if not turn.pair:
        return None, None
    try:
        text = text_of(turn.rejected).strip()
    except BadRecord as error:
        return None, Refusal(Reason.BAD_REJECTED, error.refusal.detail)
    special = SPECIAL_TOKEN.search(text)
    checks = (
        (turn.problem, Reason.BAD_REJECTED, turn.problem),
        (not text, Reason.BAD_REJECTED, "no rejected text"),
        (IMAGE_TOKEN in text, Reason.BAD_REJECTED, "`<image>` in the rejected response"),
        (special is not None, Reason.BAD_REJECTED, special.group() if special else ""),
        (normalised(text) == normalised(answer), Reason.EQUAL_REJECTED, "both say the same"),
    )
    found = (Refusal(reason, detail) for bad, reason, detail in checks if bad)
    return text or None, next(found, None)
