"""Errors injected into right answers by a text model behind an OpenAI-compatible endpoint.

BPO and POVID make part of their rejected responses this way. It is off by default: nothing else of
this project needs a network.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from typing import Any

import httpx

from mbpo_core.responses import normalised

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

_ABOUT_THIS_ROW = (400, 413, 422)
"""Statuses that refuse one text (too long, filtered), not the whole run."""
_BUSY = 429
_LONGEST_WAIT = 60.0
_SEEDS = 2**31
"""Servers take 32 bits at least; not all take more."""


class EndpointError(RuntimeError):
    """The endpoint cannot be reached or does not serve us; the message names its address."""


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
        _check_address(self.base_url)
        if self.attempts < 1 or not self.timeout > 0 or self.first_wait < 0 or self.temperature < 0:
            raise ValueError(
                "expected attempts >= 1, timeout > 0, first_wait >= 0, temperature >= 0, got "
                f"{self.attempts}, {self.timeout}, {self.first_wait}, {self.temperature}"
            )

    def __call__(self, question: str, chosen: str, seed: int) -> str | None:
        """Return a wrong version of `chosen`, or None (the reason is logged).

        `seed` is passed on; whether it repeats a draw is the endpoint's affair.
        Raises EndpointError if no request was served, ValueError if the key's variable is not set.
        """
        text, reason = _text_of(self._ask(question, chosen, seed))
        if text is not None and normalised(text) == normalised(chosen):
            text, reason = None, "the text was not changed"
        if text is None:
            logger.warning("no error injected by %s at %s: %s", self.model, self.url, reason)
        return text

    @property
    def url(self) -> str:
        """Return the address of the requests."""
        return f"{self.base_url.rstrip('/')}/chat/completions"

    def _ask(self, question: str, chosen: str, seed: int) -> httpx.Response:
        """Return the endpoint's answer: a completion, or why it refuses this text."""
        headers, body, problem = self._headers(), self._body(question, chosen, seed), ""
        for attempt in range(self.attempts):
            wait = self.first_wait * 2**attempt
            try:
                answer = httpx.post(self.url, json=body, headers=headers, timeout=self.timeout)
            except httpx.RequestError as error:
                problem = f"cannot be reached: {type(error).__name__}: {error}"
            else:
                if answer.is_success or answer.status_code in _ABOUT_THIS_ROW:
                    return answer
                problem = _told(answer)
                if answer.status_code != _BUSY and not answer.is_server_error:
                    raise EndpointError(f"{self.url} {problem}")
                wait = max(wait, _retry_after(answer))
            if attempt < self.attempts - 1:
                logger.info("%s %s; asked again in %.1f s", self.url, problem, wait)
                time.sleep(min(wait, _LONGEST_WAIT))
        raise EndpointError(f"{self.url} {problem} (tried {self.attempts} times)")

    def _body(self, question: str, chosen: str, seed: int) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": [
                {"role": "system", "content": self.prompt},
                {"role": "user", "content": f"Question: {question}\n\nRight answer: {chosen}"},
            ],
            "temperature": self.temperature,
            "seed": seed % _SEEDS,
        }

    def _headers(self) -> dict[str, str]:
        if self.api_key_env is None:
            return {}
        key = os.environ.get(self.api_key_env)
        if not key:
            raise ValueError(f"the environment variable {self.api_key_env} holds no key")
        return {"Authorization": f"Bearer {key}"}


def _check_address(base_url: str) -> None:
    """Raise ValueError, without a password in it, unless requests can be sent there."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url is no address: {error}") from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise ValueError(
            "base_url must be http(s)://host[:port][/path] without user and password, "
            f"got {url.copy_with(userinfo=b'')!s}"
        )


def _told(answer: httpx.Response) -> str:
    return f"answers {answer.status_code}: {answer.text[:200]}"


def _retry_after(answer: httpx.Response) -> float:
    """Return the seconds that the endpoint asks for; 0 where it names none, or a date."""
    asked = answer.headers.get("retry-after", "")
    return float(asked) if asked.isdecimal() else 0.0


def _text_of(answer: httpx.Response) -> tuple[str | None, str]:
    """Return the text of a completion, or None and what is wrong with it."""
    if not answer.is_success:
        return None, _told(answer)
    try:
        choice: dict[str, Any] = answer.json()["choices"][0]
        text, ended = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return None, f"no chat completion ({type(error).__name__}): {answer.text[:200]}"
    if not isinstance(text, str) or not text.strip():
        return None, "the completion has no text"
    if ended not in (None, "stop"):
        return None, f"the completion ended by {ended!r}"
    return text.strip(), ""
