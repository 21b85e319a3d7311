"""Messages of a conversation: who says what, and which answer belongs to which question."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mbpo_core.data.texts import IMAGE_TOKEN, is_encodable
from mbpo_core.records import Reason, Refusal

CONVERSATION_KEYS: Final = ("conversations", "messages", "conversations_v0")
_SPEAKERS: Final = {
    "human": "question",
    "user": "question",
    "question": "question",
    "gpt": "answer",
    "assistant": "answer",
    "answer": "answer",
    "system": "system",
}

Message = tuple[str, Any]
"""Speaker (`question`, `answer` or `system`) and content, which may be anything."""


@dataclass(frozen=True)
class Turn:
    """A question with its answers, as raw content: nothing of it is known to be text."""

    question: Any
    """None where an answer follows no question."""
    answer: Any
    """The chosen answer; None where there is none."""
    pair: bool = False
    """Whether a rejected answer belongs to this turn, be it missing or bad."""
    rejected: Any = None
    """The rejected answer; None also where it is missing."""
    problem: str = ""
    """Why the rejected answer cannot stand against the chosen one; empty if it may."""
    again: bool = False
    """Whether the first question is asked once more, for another pair of answers to it."""


class BadRecord(Exception):
    """A record, or a turn of it, is refused."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """Keep the refusal, which becomes a row."""
        super().__init__(detail)
        self.refusal = Refusal(reason, detail)


def conversation(record: Mapping[str, Any]) -> list[Message] | None:
    """Return the messages of a record; None if it has no conversation. Raises BadRecord."""
    for key in CONVERSATION_KEYS:
        if record.get(key) is not None:
            return listed(record[key], key)
    return None


def listed(value: Any, key: str) -> list[Message]:
    """Return the messages of a list. Raises BadRecord, which names the key, if it is none."""
    if not isinstance(value, list | tuple):
        kind = type(value).__name__
        raise BadRecord(Reason.MALFORMED_RECORD, f"expected {key} to be a list, got {kind}")
    return [message for entry in value for message in messages(entry)]


def messages(entry: Any) -> Iterator[Message]:
    """Yield what one entry says: one message, or a question with its answer. Raises BadRecord."""
    if not isinstance(entry, Mapping):
        kind = type(entry).__name__
        raise BadRecord(Reason.MALFORMED_RECORD, f"expected a turn to be an object, got {kind}")
    if "question" in entry:
        yield "question", entry["question"]
        yield "answer", entry.get("answer", entry.get("response"))
        return
    for who, what in (("from", "value"), ("role", "content")):
        if who in entry and what in entry:
            speaker = entry[who]
            if not isinstance(speaker, str) or speaker not in _SPEAKERS:
                detail = f"unknown speaker {str(speaker)[:40]!a}"
                raise BadRecord(Reason.MALFORMED_RECORD, detail)
            yield _SPEAKERS[speaker], entry[what]
            return
    keys = sorted(str(key) for key in entry)[:5]
    raise BadRecord(Reason.MALFORMED_RECORD, f"unknown keys of a turn: {keys!a}")


def pair_up(said: Sequence[Message]) -> Iterator[Turn]:
    """Join each question with the answer after it; what stands alone has None for the other."""
    asked: list[Any] = []
    for speaker, content in said:
        if speaker == "question":
            if asked:
                yield Turn(asked.pop(), None)
            asked.append(content)
        elif speaker == "answer":
            yield Turn(asked.pop() if asked else None, content)
    if asked:
        yield Turn(asked.pop(), None)


def text_of(content: Any) -> str:
    """Return the text of a message; a list of parts is joined, an image part is `<image>`.

    Raises BadRecord for what is no text, or no valid Unicode.
    """
    if isinstance(content, list | tuple):
        content = "".join(_part(part) for part in content)
    if content is None:
        return ""
    if not isinstance(content, str):
        kind = type(content).__name__
        raise BadRecord(Reason.MALFORMED_RECORD, f"expected text, got {kind}")
    if not is_encodable(content):
        raise BadRecord(Reason.MALFORMED_RECORD, "the text is not valid Unicode")
    return content


def mentions_image(content: Any) -> bool:
    """Whether a message says `<image>`; what is no text does not."""
    try:
        return IMAGE_TOKEN in text_of(content)
    except BadRecord:
        return False


def _part(part: Any) -> str:
    if isinstance(part, Mapping) and part.get("type") == "image":
        return IMAGE_TOKEN
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return part["text"]
    raise BadRecord(Reason.MALFORMED_RECORD, "a part of a message is neither text nor image")
