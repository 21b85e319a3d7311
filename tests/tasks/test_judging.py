"""The judge's client against a real HTTP server on this machine."""

import logging
import re
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from mbpo_core.config.judge import EndpointJudge, Judge, StoredReviews
from mbpo_core.evaluation.judge import Failure
from mbpo_core.evaluation.protocol import JudgeRequest, Review
from tasks.chat import EndpointError
from tasks.judging import ask
from tests.chat_server import Script, completion

KEY = "sk-very-secret-key"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def settings(url, **changes):
    usual = {"timeout": 5.0, "attempts": 3, "concurrency": 1}
    return EndpointJudge(base_url=url, model="judge", **(usual | changes))


def requests(*texts, **changes):
    return [JudgeRequest(({"role": "user", "content": text},), **changes) for text in texts]


def judged(server, *texts, answered=None, **changes):
    return ask(requests(*texts), settings(server.url, **changes), first_wait=0.001,
               answered=answered)  # fmt: skip


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def test_a_request_is_the_benchmarks_and_the_review_says_who_and_when():
    said = completion(" Rating: 4\n") | {"model": "judge-2024-08-06"}
    before = datetime.now(UTC).replace(microsecond=0)
    with Script((200, said), (200, completion("b"))) as server:
        first, second = ask(
            [*requests("a", temperature=0.2, max_tokens=1024), *requests("b")], settings(server.url)
        )
    assert (first.text, first.model) == (" Rating: 4\n", "judge-2024-08-06")
    assert before <= datetime.fromisoformat(first.asked_at) <= datetime.now(UTC)
    assert (second.text, second.model) == ("b", "judge")
    assert [path for path, _, _ in server.asked] == ["/v1/chat/completions"] * 2
    assert [body for _, _, body in server.asked] == [
        {"model": "judge", "messages": [{"role": "user", "content": "a"}], "temperature": 0.2,
         "max_tokens": 1024},
        {"model": "judge", "messages": [{"role": "user", "content": "b"}], "temperature": 0.0},
    ]  # fmt: skip


def test_no_requests_are_no_reviews_and_nothing_is_sent():
    assert ask([], settings(free_address())) == []


def test_reviews_keep_the_order_of_the_requests_under_concurrency():
    running, most, lock = 0, 0, threading.Lock()

    def slow_first(body):
        nonlocal running, most
        text = body["messages"][0]["content"]
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.03 * (5 - int(text) % 5))
        with lock:
            running -= 1
        return 200, completion(f"review of {text}")

    places = []
    with Script(to=slow_first) as server:
        texts = [str(i) for i in range(20)]
        found = judged(server, *texts, concurrency=4, answered=lambda i, r: places.append((i, r)))
    assert [r.text for r in found] == [f"review of {t}" for t in texts]
    assert 1 < most <= 4
    assert sorted(places, key=lambda p: p[0]) == list(enumerate(found))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_or_broken_endpoint_is_asked_again(status):
    with Script((status, {}), (status, b""), (200, completion("a"))) as server:
        (found,) = judged(server, "a")
    assert found.text == "a" and len(server.asked) == 3


@pytest.mark.parametrize("date", [False, True])
def test_it_waits_as_long_as_the_endpoint_asks_for(date):
    later = datetime.now(UTC) + timedelta(seconds=2)
    asked = format_datetime(later, usegmt=True) if date else "1"
    with Script((429, {}, 0, {"Retry-After": asked}), (200, completion("a"))) as server:
        start = time.monotonic()
        (found,) = judged(server, "a")
    assert found.text == "a" and time.monotonic() - start >= 0.5


@pytest.mark.parametrize(
    ("answer", "reason", "detail"),
    [
        ((429, {"error": "slow down"}), "rate_limited", "answers 429.*slow down"),
        ((500, b"oops"), "failed:500", "answers 500: oops"),
        ((400, {"error": {"code": "content_filter"}}), "refused:400", "content_filter"),
        ((413, b"too long"), "refused:413", "too long"),
        ((422, {}), "refused:422", "answers 422"),
        ((200, completion("so", "content_filter")), "refused:content_filter", "content_filter"),
        ((200, {"choices": [{"message": {"content": None, "refusal": "I will not."}}]}),
         "refused:message", "I will not"),
        ((200, completion(None)), "empty", "ended by 'stop'"),
        ((200, completion(" \n")), "empty", ""),
        ((200, completion("Rating", "length")), "cut", "length"),
        ((200, b"<html>"), "broken", "no chat completion.*<html>"),
        ((200, b'{"choices": [{"mess'), "broken", "no chat completion"),
        ((200, []), "broken", "no chat completion"),
        ((200, completion("late"), 1.0, {}), "timeout", "ReadTimeout"),
    ],
)  # fmt: skip
def test_a_request_without_a_review_is_a_reason_and_the_others_go_on(answer, reason, detail):
    def to(body):
        return answer if body["messages"][0]["content"] == "bad" else (200, completion("good"))

    with Script(to=to) as server:
        first, bad, last = judged(server, "a", "bad", "c", attempts=2, timeout=0.4)
    assert isinstance(first, Review) and isinstance(last, Review)
    assert isinstance(bad, Failure) and bad.reason == reason
    assert re.search(detail, bad.detail) and server.url in bad.detail
    assert datetime.fromisoformat(bad.asked_at).tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "ended", "reason"), [("0.5", "length", None), ("", "length", "cut")]
)
def test_the_benchmarks_own_limit_of_length_cuts_nothing(text, ended, reason):
    """MM-Vet asks for three tokens, and "0.5" is three."""
    with Script((200, completion(text, ended))) as server:
        (found,) = ask(requests("a", max_tokens=3), settings(server.url))
    assert isinstance(found, Failure) == (reason is not None)
    assert reason is None or found.reason == reason


def test_nobody_there_is_one_error_and_nothing_is_handed_on():
    url, handed = free_address(), []
    with pytest.raises(EndpointError, match=r"cannot be reached.*none of 9 requests") as raised:
        ask(requests(*"abcdefghi"), settings(url, attempts=2, concurrency=3), first_wait=0.001,
            answered=lambda *result: handed.append(result))  # fmt: skip
    assert url in str(raised.value) and handed == []


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_endpoint_that_does_not_serve_us_is_one_error_after_few_requests(status):
    with (
        Script(to=lambda body: (status, {"error": "not you"})) as server,
        pytest.raises(EndpointError, match=f"answers {status}.*not you.*none of 40 requests"),
    ):
        judged(server, *map(str, range(40)), concurrency=2)
    assert len(server.asked) < 10


def test_what_was_judged_is_kept_where_the_endpoint_stops_serving():
    left = iter(range(3))

    def to(body):
        return (401, {}) if next(left, None) is None else (200, completion("good"))

    handed = {}
    with Script(to=to) as server:
        found = judged(server, *map(str, range(30)), answered=handed.__setitem__)
    assert [r.text for r in found[:3]] == ["good"] * 3
    assert {r.reason for r in found[3:]} == {"not_served:401"}
    assert "not asked any more" in found[-1].detail and len(server.asked) < 12
    assert [handed[i] for i in range(30)] == found


def test_the_key_is_sent_and_stands_nowhere_else(monkeypatch, caplog):
    """Some endpoints repeat the key in what they say."""
    monkeypatch.setenv("JUDGE_KEY", KEY)
    echoes = {"a": (200, completion("good")), "b": (400, f"bad {KEY}".encode()),
              "c": (200, f"<p>{KEY}</p>".encode()), "d": (500, KEY.encode())}  # fmt: skip
    with (
        Script(to=lambda body: echoes[body["messages"][0]["content"]]) as server,
        caplog.at_level(logging.DEBUG),
    ):
        what = settings(server.url, api_key_env="JUDGE_KEY", attempts=2)
        found = ask(requests(*"abcd"), what, first_wait=0.001)
    assert all(h["Authorization"] == f"Bearer {KEY}" for _, h, _ in server.asked)
    assert "***" in found[1].detail and "***" in found[2].detail and "***" in found[3].detail
    with (
        Script((401, f"Incorrect key: {KEY}".encode())) as server,
        pytest.raises(EndpointError, match=r"Incorrect key: \*\*\*") as raised,
        caplog.at_level(logging.DEBUG),
    ):
        ask(requests("a"), settings(server.url, api_key_env="JUDGE_KEY"))
    everything = (repr(found), repr(what), what.model_dump_json(), caplog.text, str(raised.value))
    assert all(KEY not in text for text in everything)
    assert "asked again" in caplog.text


@pytest.mark.parametrize("key", [None, "", " \n", "sk-ключ", "sk-a\nb"])
def test_a_key_that_cannot_be_sent_is_an_error_without_it(key, monkeypatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("JUDGE_KEY", key)
    with Script() as server, pytest.raises(ValueError, match="JUDGE_KEY") as raised:
        ask(requests("a"), settings(server.url, api_key_env="JUDGE_KEY"))
    assert server.asked == [] and "sk-" not in str(raised.value)


def test_any_text_can_be_asked_about():
    with Script((200, completion("a"))) as server:
        (found,) = ask(requests("half a pair: \ud83d, ünï \x00"), settings(server.url))
    assert isinstance(found, Review)
    assert server.asked[0][2]["messages"][0]["content"] == "half a pair: \ud83d, ünï \x00"


def test_an_interrupted_run_stops_asking():
    def stop(place, result):
        raise KeyboardInterrupt

    with Script(to=lambda body: (200, completion("a"))) as server, pytest.raises(KeyboardInterrupt):
        judged(server, *map(str, range(500)), answered=stop)
    assert len(server.asked) < 100


@pytest.mark.parametrize(
    "base_url", ["host/v1", "ftp://host", "http://", "https://me:hunter2@host/v1"]
)
def test_addresses_that_cannot_work_are_refused_and_no_password_repeated(base_url):
    with pytest.raises(ValidationError, match="without user and password") as raised:
        settings(base_url)
    assert "hunter2" not in str(raised.value)


def test_a_judge_is_an_endpoint_or_a_file():
    judge = TypeAdapter(Judge)
    assert isinstance(judge.validate_python({"kind": "stored", "path": "r.json"}), StoredReviews)
    endpoint = judge.validate_python({"kind": "endpoint", "base_url": "http://h/v1", "model": "m"})
    assert isinstance(endpoint, EndpointJudge)
    with pytest.raises(ValidationError, match="api_key"):
        EndpointJudge(base_url="http://h/v1", model="m", api_key=KEY)
