"""Errors injected into right answers by a text model behind an OpenAI-compatible endpoint.

BPO and POVID make part of their rejected responses this way. It is off by default: nothing else of
this project needs a network.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import httpx

from mbpo_core.responses import normalised
from tasks.chat import ChatEndpoint, EndpointError, completion, told

__all__ = ["PROMPT", "EndpointError", "EndpointInjector"]

logger = logging.getLogger(__name__)

PROMPT = """\
You see a question about a picture and its right answer, but not the picture. Rewrite the answer so
that it becomes wrong in one or two places, in the way in which people and models are often wrong
about pictures: an object that is likely to be there but is not mentioned, an attribute such as a
colour or a material, a relation such as left and right, or a number. The error must be plausible
and must contradict the right answer. Keep everything else: length, style, language and format. If
the answer is a single word, number, letter, yes or no, give another one that the question allows.
Reply with the rewritten answer alone, without quotation marks, comments or explanations."""
"""Our own words: what BPO and POVID ask for is not quoted (assumed)."""

_SEEDS = 2**31
"""Servers take 32 bits at least; not all take more."""


@dataclass(frozen=True)
class EndpointInjector:
    """Asks a text-only model for a wrong version of a right answer.

    A call keeps no state, so that one injector may be called from several threads.
    Raises ValueError for settings out of range.
    """

    base_url: str
    """Address up to and with the version, as `https://host/v1`; holds no password."""
    model: str
    """Name of the model as the endpoint knows it."""
    prompt: str = PROMPT
    """The system message; question and right answer follow as the user's."""
    timeout: float = 60.0
    """Seconds that one request may take (assumed)."""
    attempts: int = 5
    """Requests at most, where the endpoint is busy, broken or silent (assumed)."""
    first_wait: float = 1.0
    """Seconds before the second request; doubled before each further one (assumed)."""
    temperature: float = 0.0
    """0 = the likeliest error, a common one (assumed)."""
    api_key_env: str | None = None
    """Name of the environment variable with the key; the key itself is never stored."""

    def __post_init__(self) -> None:
        """Refuse what could not work before the first sample is sent."""
        if self.temperature < 0:
            raise ValueError(f"expected temperature >= 0, got {self.temperature}")
        _ = self.endpoint

    def __call__(self, question: str, chosen: str, seed: int) -> str | None:
        """Return a wrong version of `chosen`, or None (the reason is logged).

        `seed` is passed on; whether it repeats a draw is the endpoint's affair.
        Raises EndpointError if no request was served, ValueError if the key's variable is not set.
        """
        answer = self.endpoint.ask(self._body(question, chosen, seed))
        text, reason = _text_of(answer, self.endpoint.key())
        if text is not None and normalised(text) == normalised(chosen):
            text, reason = None, "the text was not changed"
        if text is None:
            logger.warning("no error injected by %s at %s: %s", self.model, self.url, reason)
        return text

    @property
    def endpoint(self) -> ChatEndpoint:
        """Return where it asks. Raises ValueError for settings out of range."""
        return ChatEndpoint(self.base_url, self.model, self.timeout, self.attempts,
                            self.first_wait, self.api_key_env)  # fmt: skip

    @property
    def url(self) -> str:
        """Return the address of the requests."""
        return self.endpoint.url

    def _body(self, question: str, chosen: str, seed: int) -> dict[str, Any]:
        return {
            "messages": [
                {"role": "system", "content": self.prompt},
                {"role": "user", "content": f"Question: {question}\n\nRight answer: {chosen}"},
            ],
            "temperature": self.temperature,
            "seed": seed % _SEEDS,
        }


def _text_of(answer: httpx.Response, key: str | None) -> tuple[str | None, str]:
    """Return the text of a completion, or None and what is wrong with it."""
    if not answer.is_success:
        return None, told(answer, key)
    found = completion(answer, key)
    if found.broken:
        return None, found.broken
    if not found.text.strip():
        return None, "the completion has no text"
    if found.ended not in (None, "stop"):
        return None, f"the completion ended by {found.ended!r}"
    return found.text.strip(), ""
