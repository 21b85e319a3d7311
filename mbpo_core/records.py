"""Rows that ingest makes: samples, and what could not become one with the reason why."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, get_args

ClosedKind = Literal["multiple_choice", "yes_no"]
CLOSED_KINDS: Final[tuple[ClosedKind, ...]] = get_args(ClosedKind)
Options = tuple[tuple[str, str], ...]
"""Letters and texts of a multiple choice, in order: `(("A", "red"), ("B", "blue"))`."""


class Reason(StrEnum):
    """Why a row is no usable sample; `EXPLANATIONS` says each in a sentence."""

    MALFORMED_RECORD = "malformed_record"
    NO_IMAGE = "no_image"
    SEVERAL_IMAGES = "several_images"
    IMAGE_IN_LATER_TURN = "image_in_later_turn"
    SPECIAL_TOKEN = "special_token"
    EMPTY_QUESTION = "empty_question"
    EMPTY_RESPONSE = "empty_response"
    OUTSIDE_ROOT = "outside_root"
    MISSING_FILE = "missing_file"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    EXTREME_RATIO = "extreme_ratio"
    UNSUPPORTED_MODE = "unsupported_mode"
    NOT_FIXED_POINT = "not_fixed_point"
    BAD_REJECTED = "bad_rejected"
    EQUAL_REJECTED = "equal_rejected"
    DUPLICATE = "duplicate"
    ERROR = "error"


EXPLANATIONS: Final[dict[Reason, str]] = {
    Reason.MALFORMED_RECORD: "the record, or a turn of it, is not in a format that is read",
    Reason.NO_IMAGE: "the record names no image, or this turn comes before the image",
    Reason.SEVERAL_IMAGES: "the record has several images, or `<image>` stands twice in a turn",
    Reason.IMAGE_IN_LATER_TURN: "`<image>` stands in a later turn or in a response",
    Reason.SPECIAL_TOKEN: "the text holds a control token of Qwen (image pad, end of turn, ...)",
    Reason.EMPTY_QUESTION: "the question is empty or missing",
    Reason.EMPTY_RESPONSE: "the response is empty or missing",
    Reason.OUTSIDE_ROOT: "the image's path leads out of the image folder",
    Reason.MISSING_FILE: "the image file does not exist or cannot be opened",
    Reason.UNREADABLE: "the bytes are no image of a known format",
    Reason.TRUNCATED: "the image's header is fine, but its pixels are cut off or damaged",
    Reason.TOO_LARGE: "more than `max_source_pixels`, or a file over 1 GiB: it is not decoded",
    Reason.TOO_SMALL: "a side of the image is shorter than `min_source_side`",
    Reason.EXTREME_RATIO: "one side is more than 200 times as long as the other",
    Reason.UNSUPPORTED_MODE: "the pixels have no known scale (floating point, 32-bit integers)",
    Reason.NOT_FIXED_POINT: "the model's processor would resize the prepared image again",
    Reason.BAD_REJECTED: "the rejected text is missing or unusable, or answers something else",
    Reason.EQUAL_REJECTED: "the rejected text says the same as the chosen one",
    Reason.DUPLICATE: "image bytes and all texts equal those of an earlier sample",
    Reason.ERROR: "reading it went wrong in a way that nobody foresaw; `detail` says how",
}


@dataclass(frozen=True)
class Refusal:
    """Why something was refused; it becomes a row and never an exception."""

    reason: Reason
    """One of a closed list, to count by."""
    detail: str = ""
    """For a person: what was found, and where."""


@dataclass(frozen=True)
class Sample:
    """One question about one image with its gold response, or a row that says why there is none.

    Exactly one of `reason` and `image_png` is None.
    """

    sample_id: str
    """Unique in its table. A sample's: hash of image bytes, question, response and, if it has one,
    rejected text; so equal content has an equal id wherever it stands. A refused row's: hash of its
    place and reason."""
    source_id: str
    """The record's own `id`, which may repeat; empty where it has none."""
    source_index: int
    """Position of the record in its source, from 0."""
    turn: int
    """Position of the question within the conversation, or of the pair in the record, from 0."""
    image_id: str | None
    """sha256 of shape and pixels of the prepared image; None where there is none."""
    image_png: bytes | None
    """The prepared image: 8-bit RGB PNG of [height, width] pixels."""
    height: int | None
    """Pixels, a multiple of the policy's factor."""
    width: int | None
    """Pixels, a multiple of the policy's factor."""
    question: str
    """The user's text without `<image>`; empty where the turn could not be read."""
    response: str
    """The gold (or chosen) response; empty where the turn could not be read."""
    rejected: str | None = None
    """The rejected response of a preference record; None where it has none for this turn. Of a
    refused row: what could be read of it."""
    closed_kind: ClosedKind | None = None
    """None for an open-ended sample."""
    closed_answer: str | None = None
    """A capital letter, `yes` or `no`; None for an open-ended sample."""
    options: Options = ()
    """Options of a multiple choice."""
    reason: Reason | None = None
    """None for a usable sample."""
    detail: str | None = None
    """What `reason` was found in."""
