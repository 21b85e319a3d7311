"""One raw record of a visual-instruction set becomes questions with responses, or refusals.

Read are the LLaVA format (`conversations` of `from`/`value`), the LLaMA-Factory format (`messages`
of `role`/`content`, `images`), lists of `question`/`answer` (MMEvol's `conversations_v0`), and a
single `question`/`answer` in the record itself. The evolved rounds of MMEvol (`conversations_v1`
and later) are not read: the paper's data are the seed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mbpo_core.records import Reason, Refusal

IMAGE_TOKEN: Final = "<image>"
_CONVERSATION_KEYS: Final = ("conversations", "messages", "conversations_v0")
_SPEAKERS: Final = {
    "human": "question",
    "user": "question",
    "question": "question",
    "gpt": "answer",
    "assistant": "answer",
    "answer": "answer",
    "system": "system",
}
_SPECIAL: Final = re.compile(r"<\|[a-z_]+\|>")

ImageReference = str | bytes


@dataclass(frozen=True)
class RawSample:
    """One turn of one record, before its image is opened."""

    source_id: str
    """The record's `id` as text; empty where it has none."""
    turn: int
    """Position of the question within the conversation, from 0."""
    image: ImageReference
    """Path as written in the record, or the bytes of the image file."""
    question: str
    """Text of the user's turn without `<image>`, stripped."""
    answer: str
    """The gold response, stripped."""


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


@dataclass(frozen=True)
class _Turn:
    question: Any
    answer: Any


class _BadRecord(Exception):
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refusal(reason, detail)


def read_turns(record: Any) -> list[RawSample | RefusedTurn]:
    """Split a record into its turns; each question with the response that follows is one row.

    Earlier turns are *not* context: every question stands alone with the image (assumed; the paper
    does not say). System messages are dropped: the chat template brings its own. A record whose
    first turn does not say `<image>` but that names an image is read as if it did; a turn before
    the first `<image>` is refused. Text is stripped at both ends.

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
        turns = list(_turns(record))
        image = _image(record)
    except _BadRecord as error:
        return [RefusedTurn(source_id, 0, error.refusal)]
    shown = [_mentions_image(turn.question) for turn in turns]
    first_shown = shown.index(True) if any(shown) else 0
    return [
        _row(source_id, index, turn, image, comes_before_image=index < first_shown)
        for index, turn in enumerate(turns)
    ]


def without_image_token(text: str) -> str:
    """Remove every `<image>` with the blanks around it; what stood on two lines stays on two."""
    kept = ""
    for part in text.split(IMAGE_TOKEN):
        left, right = kept.rstrip(" \t"), part.lstrip(" \t")
        if not left.strip() or not right.strip():
            kept = (left + right).strip()
        elif left.endswith("\n") or right.startswith("\n"):
            kept = left.rstrip() + "\n" + right.lstrip()
        else:
            kept = f"{left} {right}"
    return kept.strip()


def _source_id(record: Mapping[str, Any]) -> str:
    value = next((record[key] for key in ("id", "hash_id") if record.get(key) is not None), "")
    return str(value).encode("utf-8", "replace").decode("utf-8") if _is_plain(value) else ""


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int)


def _image(record: Mapping[str, Any]) -> ImageReference:
    """Return the one image of a record."""
    found = [one for key in ("image", "images") for one in _as_list(record.get(key))]
    references = [_reference(one) for one in found]
    if len(references) > 1:
        raise _BadRecord(Reason.SEVERAL_IMAGES, f"{len(references)} images")
    if not references:
        raise _BadRecord(Reason.NO_IMAGE, "the record names no image")
    return references[0]


def _as_list(value: Any) -> list[Any]:
    items = value if isinstance(value, list | tuple) else [value]
    return [item for item in items if item is not None and item not in ("", b"")]


def _reference(value: Any) -> ImageReference:
    """Return a path or bytes; `{bytes, path}` is how `datasets` stores an image."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
        if value is None or value == "":
            raise _BadRecord(Reason.NO_IMAGE, "the image has neither bytes nor path")
    if isinstance(value, str):
        if _is_encodable(value):
            return value
        raise _BadRecord(Reason.MALFORMED_RECORD, "the image's path is not valid Unicode")
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    kind = type(value).__name__
    raise _BadRecord(Reason.MALFORMED_RECORD, f"expected a path or bytes of an image, got {kind}")


def _turns(record: Mapping[str, Any]) -> Iterator[_Turn]:
    messages = [message for entry in _entries(record) for message in _messages(entry)]
    if not any(speaker != "system" for speaker, _ in messages):
        raise _BadRecord(Reason.MALFORMED_RECORD, "the conversation has no turns")
    yield from _pairs(messages)


def _entries(record: Mapping[str, Any]) -> Sequence[Any]:
    for key in _CONVERSATION_KEYS:
        if record.get(key) is not None:
            if isinstance(record[key], list | tuple):
                return record[key]
            kind = type(record[key]).__name__
            raise _BadRecord(Reason.MALFORMED_RECORD, f"expected {key} to be a list, got {kind}")
    if "question" in record:
        return [record]
    expected = ", ".join((*_CONVERSATION_KEYS, "question"))
    raise _BadRecord(Reason.MALFORMED_RECORD, f"expected one of the keys {expected}")


def _messages(entry: Any) -> Iterator[tuple[str, Any]]:
    """Yield (speaker, content) of one entry: one message, or a question with its answer."""
    if not isinstance(entry, Mapping):
        kind = type(entry).__name__
        raise _BadRecord(Reason.MALFORMED_RECORD, f"expected a turn to be an object, got {kind}")
    if "question" in entry:
        yield "question", entry["question"]
        yield "answer", entry.get("answer", entry.get("response"))
        return
    for who, what in (("from", "value"), ("role", "content")):
        if who in entry and what in entry:
            speaker = entry[who]
            if not isinstance(speaker, str) or speaker not in _SPEAKERS:
                detail = f"unknown speaker {str(speaker)[:40]!a}"
                raise _BadRecord(Reason.MALFORMED_RECORD, detail)
            yield _SPEAKERS[speaker], entry[what]
            return
    keys = sorted(str(key) for key in entry)[:5]
    raise _BadRecord(Reason.MALFORMED_RECORD, f"unknown keys of a turn: {keys!a}")


def _pairs(messages: Sequence[tuple[str, Any]]) -> Iterator[_Turn]:
    """Join each question with the answer after it; what stands alone has None for the other."""
    asked: list[Any] = []
    for speaker, content in messages:
        if speaker == "question":
            if asked:
                yield _Turn(asked.pop(), None)
            asked.append(content)
        elif speaker == "answer":
            yield _Turn(asked.pop() if asked else None, content)
    if asked:
        yield _Turn(asked.pop(), None)


def _text(content: Any) -> str:
    """Return the text of a message; a list of parts is joined, an image part is `<image>`."""
    if isinstance(content, list | tuple):
        content = "".join(_part(part) for part in content)
    if content is None:
        return ""
    if not isinstance(content, str):
        kind = type(content).__name__
        raise _BadRecord(Reason.MALFORMED_RECORD, f"expected text, got {kind}")
    if not _is_encodable(content):
        raise _BadRecord(Reason.MALFORMED_RECORD, "the text is not valid Unicode")
    return content


def _part(part: Any) -> str:
    if isinstance(part, Mapping) and part.get("type") == "image":
        return IMAGE_TOKEN
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return part["text"]
    raise _BadRecord(Reason.MALFORMED_RECORD, "a part of a message is neither text nor image")


def _is_encodable(text: str) -> bool:
    # JSON can write half of a surrogate pair, which no file and no hash can take.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _mentions_image(content: Any) -> bool:
    try:
        return IMAGE_TOKEN in _text(content)
    except _BadRecord:
        return False


def _row(
    source_id: str, index: int, turn: _Turn, image: ImageReference, *, comes_before_image: bool
) -> RawSample | RefusedTurn:
    try:
        question, answer = _text(turn.question), _text(turn.answer)
    except _BadRecord as error:
        return RefusedTurn(source_id, index, error.refusal)
    refusal = _refusal(question, answer, index, comes_before_image)
    question, answer = without_image_token(question), answer.strip()
    if refusal is not None:
        return RefusedTurn(source_id, index, refusal, question, answer)
    return RawSample(source_id, index, image, question, answer)


def _refusal(question: str, answer: str, index: int, comes_before_image: bool) -> Refusal | None:
    special = _SPECIAL.search(question) or _SPECIAL.search(answer)
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
