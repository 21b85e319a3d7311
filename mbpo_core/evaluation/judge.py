"""What is asked of a judge, and what comes back where it gives no review.

Nothing here sends anything: `tasks.judging` asks an endpoint, `stored_reviews` reads what a judge
said before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol, runtime_checkable

from mbpo_core.evaluation.protocol import (
    JudgedBenchmark,
    JudgeRequest,
    Question,
    Review,
    Score,
)

_PROMPT_BEGINS = "# ---- the prompt begins in the next line ----\n"


@dataclass(frozen=True)
class Failure:
    """Why a request brought no review. It is a row with its reason, never a score of 0."""

    reason: str
    """`timeout`, `unreachable`, `rate_limited`, `failed:<status>` (500 and above),
    `not_served:<status>` (wrong key or address), `refused:<status>`, `refused:content_filter`,
    `refused:message`, `empty`, `cut`, `broken` (no chat completion)."""
    detail: str
    """What the endpoint said, without the key."""
    asked_at: str
    """UTC time in ISO format."""


@runtime_checkable
class Insistent(Protocol):
    """A judged benchmark that asks again where a review cannot be read."""

    def again(
        self, question: Question, response: str, reviews: Sequence[Review]
    ) -> JudgeRequest | None:
        """Return what is asked after these reviews; None where the last one is final."""


def next_request(
    benchmark: JudgedBenchmark, question: Question, response: str, reviews: Sequence[Review] = ()
) -> JudgeRequest | None:
    """Return the request that an answer still needs after some reviews of it; None: it is judged.

    The last review is the one that is scored.
    """
    if not reviews:
        return benchmark.request(question, response)
    if isinstance(benchmark, Insistent):
        return benchmark.again(question, response, reviews)
    return None


def request_id(model: str, request: JudgeRequest) -> str:
    """Return the sha256 that equal requests to one model share, so that none is asked twice.

    Of canonical JSON: model, messages, temperature, max_tokens.
    """
    content = {
        "model": model,
        "messages": [dict(message) for message in request.messages],
        "temperature": float(request.temperature),
        "max_tokens": request.max_tokens,
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def unjudged(reason: str = "no_review") -> Score:
    """Return the score of an answer that no review is about: in no figure, but counted."""
    return Score(reason=f"unjudged:{reason}")


def prompt_text(name: str) -> str:
    """Return the judge prompt in `<name>_prompt.txt`, word by word, without the file's heading."""
    text = (files(__package__) / f"{name}_prompt.txt").read_text(encoding="utf-8")
    return text.partition(_PROMPT_BEGINS)[2].removesuffix("\n")
