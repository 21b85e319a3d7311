"""A judge behind an OpenAI-compatible endpoint: requests to reviews, or to why there are none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import httpx

from mbpo_core.config.judge import EndpointJudge
from mbpo_core.evaluation.judge import Failure
from mbpo_core.evaluation.protocol import JudgeRequest, Review
from tasks.chat import NOT_SERVED, ChatEndpoint, Completion, EndpointError, completion, told

logger = logging.getLogger(__name__)

_IN_A_ROW = 5
"""Requests that are not served before the rest is given up, at the least."""

Answered = Callable[[int, Review | Failure], None]
"""Told the place of a request and what came of it, as soon as it is known."""


def ask(
    requests: Sequence[JudgeRequest],
    settings: EndpointJudge,
    *,
    first_wait: float = 1.0,
    answered: Answered | None = None,
) -> list[Review | Failure]:
    """Return what a judge says to each request, in their order.

    Nothing is stored here. Where the endpoint stops serving on the way (some requests in a row are
    not served), the rest is not sent, and each is a `Failure` with that reason.

    Args:
        requests: what is asked.
        settings: of the endpoint; the key is read from the environment variable they name.
        first_wait: seconds before a request is sent again, doubled each time.
        answered: called in this thread for each request as it is answered.

    Raises:
        EndpointError: no request was served: the endpoint cannot be reached, or it refuses us
            (wrong key, wrong address). `answered` has not been called then.
        ValueError: the environment variable holds no key.
    """
    endpoint = ChatEndpoint(settings.base_url, settings.model, settings.timeout,
                            settings.attempts, first_wait, settings.api_key_env)  # fmt: skip
    endpoint.key()
    breaker = _Breaker(max(settings.concurrency, _IN_A_ROW))
    found: dict[int, Review | Failure] = {}
    with (
        httpx.Client(limits=httpx.Limits(max_connections=settings.concurrency)) as client,
        ThreadPoolExecutor(settings.concurrency, "judge") as pool,
    ):
        places = {
            pool.submit(_asked, request, endpoint, client, breaker): place
            for place, request in enumerate(requests)
        }
        try:
            _collect(places, found, answered)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    failures = [result for result in found.values() if isinstance(result, Failure)]
    if found and len(failures) == len(found) and all(_is_fatal(f.reason) for f in failures):
        raise EndpointError(f"{failures[0].detail}; none of {len(found)} requests was served",
                            failures[0].reason)  # fmt: skip
    if failures:
        logger.warning("%d of %d requests to %s brought no review; the first: %s (%s)",
                       len(failures), len(found), endpoint.url, failures[0].reason,
                       failures[0].detail)  # fmt: skip
    return [found[place] for place in range(len(requests))]


def _collect(
    places: dict[Any, int], found: dict[int, Review | Failure], answered: Answered | None
) -> None:
    """Gather results; none is handed on before one shows that the endpoint serves us."""
    held: list[int] = []
    served = False
    for future in as_completed(places):
        place = places[future]
        result = found[place] = future.result()
        served = served or isinstance(result, Review) or not _is_fatal(result.reason)
        held.append(place)
        if answered is not None and served:
            for each in held:
                answered(each, found[each])
            held.clear()


def _asked(
    request: JudgeRequest, endpoint: ChatEndpoint, client: httpx.Client, breaker: _Breaker
) -> Review | Failure:
    if breaker.open is not None:
        return breaker.open
    body: dict[str, Any] = {
        "messages": [dict(message) for message in request.messages],
        "temperature": request.temperature,
    }
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    try:
        answer = endpoint.ask(body, client)
    except EndpointError as error:
        failure = Failure(error.reason, str(error), _now())
        breaker.failed(failure)
        return failure
    breaker.served()
    return _result(answer, request, endpoint)


def _result(
    answer: httpx.Response, request: JudgeRequest, endpoint: ChatEndpoint
) -> Review | Failure:
    key = endpoint.key()
    if not answer.is_success:
        return Failure(f"refused:{answer.status_code}", f"{endpoint.url} {told(answer, key)}",
                       _now())  # fmt: skip
    said = completion(answer, key)
    reason = _fault(said, request)
    if reason is not None:
        detail = said.broken or said.refusal or f"the completion ended by {said.ended!r}"
        return Failure(reason, f"{endpoint.url}: {detail}", _now())
    return Review(said.text, said.model or endpoint.model, _now())


def _fault(said: Completion, request: JudgeRequest) -> str | None:
    """Return why a completion is no review; None if it is one.

    Where the benchmark itself limits the length (MM-Vet: 3 tokens), ending there is no fault.
    """
    if said.broken:
        return "broken"
    if said.ended == "content_filter":
        return "refused:content_filter"
    empty = not said.text.strip()
    if said.ended == "length" and (empty or request.max_tokens is None):
        return "cut"
    if empty:
        return "refused:message" if said.refusal else "empty"
    return None


class _Breaker:
    """Opens when a number of requests in a row are not served."""

    def __init__(self, limit: int) -> None:
        self.limit, self.in_a_row = limit, 0
        self.open: Failure | None = None
        self.lock = Lock()

    def served(self) -> None:
        with self.lock:
            self.in_a_row = 0

    def failed(self, failure: Failure) -> None:
        with self.lock:
            self.in_a_row += 1
            if self.in_a_row >= self.limit:
                self.open = replace(failure, detail=f"not asked any more: {failure.detail}")


def _is_fatal(reason: str) -> bool:
    return reason == "unreachable" or reason.startswith(NOT_SERVED)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
