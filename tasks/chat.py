"""Requests to an OpenAI-compatible endpoint: what all who ask one share.

A request is sent again, after a wait that doubles, while the endpoint is busy, broken or silent.
What becomes of an answer is the affair of who asks.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

logger = logging.getLogger(__name__)

_ABOUT_THIS_TEXT = (400, 413, 422)
"""Statuses that refuse one text (too long, filtered), not the whole run."""
NOT_SERVED = "not_served"
_BUSY = 429
_LONGEST_WAIT = 60.0
_SHOWN = 200


class EndpointError(RuntimeError):
    """The endpoint cannot be reached or does not serve us; the message names its address."""

    concerns_all_rows = True

    def __init__(self, message: str, reason: str = "unreachable") -> None:
        super().__init__(message)
        self.reason = reason
        """`timeout`, `unreachable`, `rate_limited`, `failed:<status>` (of 500 and above) or
        `not_served:<status>` (wrong key, wrong address, ...)."""


@dataclass(frozen=True)
class ChatEndpoint:
    """Where chat completions are asked for, and how patiently.

    Keeps no state and no key, so that several threads may use one.
    Raises ValueError for settings out of range.
    """

    base_url: str
    """Address up to and with the version, as `https://host/v1`; holds no password."""
    model: str
    """Name of the model as the endpoint knows it."""
    timeout: float = 60.0
    """Seconds that one request may take."""
    attempts: int = 5
    """Requests at most."""
    first_wait: float = 1.0
    """Seconds before the second request; doubled before each further one."""
    api_key_env: str | None = None
    """Name of the environment variable with the key; the key itself is never stored."""

    def __post_init__(self) -> None:
        """Refuse what could not work before anything is sent."""
        _check_address(self.base_url)
        if self.attempts < 1 or not self.timeout > 0 or self.first_wait < 0:
            raise ValueError(
                "expected attempts >= 1, timeout > 0, first_wait >= 0, got "
                f"{self.attempts}, {self.timeout}, {self.first_wait}"
            )

    @property
    def url(self) -> str:
        """Return the address of the requests."""
        return f"{self.base_url.rstrip('/')}/chat/completions"

    def key(self) -> str | None:
        """Return the key from the environment; None where none is needed.

        Raises ValueError, without the key in it, if it is absent or cannot stand in a header.
        """
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise ValueError(f"the environment variable {self.api_key_env} holds no key")
        if not (key.isascii() and key.isprintable()):
            raise ValueError(f"the key in {self.api_key_env} has characters that no key can have")
        return key

    def ask(self, body: Mapping[str, Any], client: httpx.Client | None = None) -> httpx.Response:
        """Return the endpoint's answer: a completion, or why it refuses this text.

        Args:
            body: of the request, but for the model.
            client: to keep connections between requests; None: one of its own for each.

        Raises EndpointError if no request was served, ValueError as `key` does.
        """
        key, problem, reason = self.key(), "", "unreachable"
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        post = httpx.post if client is None else client.post
        # Escaped, since half of a surrogate pair in a model's answer has no UTF-8.
        content = json.dumps({"model": self.model, **body}).encode("ascii")
        for attempt in range(self.attempts):
            wait = self.first_wait * 2**attempt
            try:
                answer = post(self.url, content=content, headers=headers, timeout=self.timeout)
            except httpx.RequestError as error:
                problem = f"cannot be reached: {type(error).__name__}: {error}"
                late = isinstance(error, httpx.TimeoutException)
                reached = not isinstance(error, httpx.ConnectTimeout)
                reason = "timeout" if late and reached else "unreachable"
            else:
                if answer.is_success or answer.status_code in _ABOUT_THIS_TEXT:
                    return answer
                problem, reason = told(answer, key), _reason(answer)
                if reason.startswith(NOT_SERVED):
                    raise EndpointError(f"{self.url} {problem}", reason)
                wait = max(wait, _retry_after(answer))
            if attempt < self.attempts - 1:
                wait = min(wait, _LONGEST_WAIT)
                logger.info("%s %s; asked again in %.1f s", self.url, problem, wait)
                time.sleep(wait)
        raise EndpointError(f"{self.url} {problem} (tried {self.attempts} times)", reason)


@dataclass(frozen=True)
class Completion:
    """The text of a chat completion, or what is wrong with it."""

    text: str = ""
    """As the model wrote it, space around it too."""
    ended: str | None = None
    """The finish reason; None where the endpoint names none."""
    model: str = ""
    """As the endpoint names it; "" where it does not."""
    refusal: str = ""
    """What the model says in place of an answer, where the endpoint tells it apart."""
    broken: str = ""
    """Why this is no chat completion; "" if it is one."""


def completion(answer: httpx.Response, key: str | None = None) -> Completion:
    """Read a successful answer; one that is no chat completion is `broken`."""
    try:
        content = answer.json()
        choice: dict[str, Any] = content["choices"][0]
        text, ended = choice["message"]["content"], choice.get("finish_reason")
        refusal = choice["message"].get("refusal")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return Completion(broken=f"no chat completion ({type(error).__name__}): "
                                 f"{_without(key, answer.text)}")  # fmt: skip
    return Completion(
        text=text if isinstance(text, str) else "", ended=ended,
        model=str(content.get("model") or ""), refusal=str(refusal or ""),
    )  # fmt: skip


def told(answer: httpx.Response, key: str | None = None) -> str:
    """Return the status and what an endpoint says with it, the key blotted out."""
    return f"answers {answer.status_code}: {_without(key, answer.text)}"


def _without(key: str | None, text: str) -> str:
    """Return the beginning of what an endpoint says: some repeat the key."""
    return (text if key is None else text.replace(key, "***"))[:_SHOWN]


def _reason(answer: httpx.Response) -> str:
    if answer.status_code == _BUSY:
        return "rate_limited"
    kind = "failed" if answer.is_server_error else NOT_SERVED
    return f"{kind}:{answer.status_code}"


def _retry_after(answer: httpx.Response) -> float:
    """Return the seconds that the endpoint asks for, as a number or a date; 0 for neither."""
    asked = answer.headers.get("retry-after", "")
    try:
        return float(asked) if asked.isdecimal() else _until(parsedate_to_datetime(asked))
    except ValueError:
        return 0.0


def _until(moment: datetime) -> float:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


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
