"""The injector of errors against a real HTTP server on this machine."""

import logging
import re
import socket
import time

import pytest

from tasks.endpoint import PROMPT, EndpointError, EndpointInjector
from tests.chat_server import Script, completion

QUESTION, CHOSEN, WRONG = "What is on the table?", "A red cup.", "A blue cup."


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def injector(url, **changes):
    return EndpointInjector(url, "text-model", **({"first_wait": 0.001, "timeout": 5.0} | changes))


def test_question_and_answer_are_sent_and_the_wrong_text_comes_back(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "secret")
    with Script((200, completion(f" {WRONG}\n"))) as server:
        inject = injector(server.url + "/", api_key_env="SOME_KEY")
        assert inject(QUESTION, CHOSEN, 2**40 + 7) == WRONG
    ((path, headers, body),) = server.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret" and "secret" not in repr(inject)
    assert (body["model"], body["temperature"], body["seed"]) == ("text-model", 0.0, 7)
    system, user = body["messages"]
    assert (system["role"], system["content"], user["role"]) == ("system", PROMPT, "user")
    assert QUESTION in user["content"] and CHOSEN in user["content"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_or_broken_endpoint_is_asked_again(status):
    with Script((status, {}), (status, b""), (200, completion(WRONG))) as server:
        assert injector(server.url)(QUESTION, CHOSEN, 1) == WRONG
    assert len(server.asked) == 3
    assert server.asked[0][2] == server.asked[2][2]


def test_it_waits_as_long_as_the_endpoint_asks_for():
    with Script((429, {}, 0, {"Retry-After": "1"}), (200, completion(WRONG))) as server:
        start = time.monotonic()
        assert injector(server.url)(QUESTION, CHOSEN, 1) == WRONG
    assert time.monotonic() - start >= 1


def test_a_silent_endpoint_is_asked_again_and_in_the_end_named():
    late = (200, completion("too late"), 1.0, {})
    with Script(late, (200, completion(WRONG))) as server:
        assert injector(server.url, timeout=0.3)(QUESTION, CHOSEN, 1) == WRONG
    with Script(late) as server, pytest.raises(EndpointError) as raised:
        injector(server.url, timeout=0.3, attempts=1)(QUESTION, CHOSEN, 1)
    assert server.url in str(raised.value) and "ReadTimeout" in str(raised.value)


def test_nobody_there_is_an_error_that_names_the_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(EndpointError, match=r"cannot be reached.*tried 2 times") as raised:
        injector(url, attempts=2)(QUESTION, CHOSEN, 1)
    assert url in str(raised.value)


@pytest.mark.parametrize(("status", "asked"), [(401, 1), (404, 1), (429, 2), (502, 2)])
def test_an_endpoint_that_does_not_serve_us_is_an_error(status, asked):
    with (
        Script(*[(status, {"error": {"message": "not you"}})] * asked) as server,
        pytest.raises(EndpointError, match=f"answers {status}: .*not you"),
    ):
        injector(server.url, attempts=2)(QUESTION, CHOSEN, 1)
    assert len(server.asked) == asked


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, b"<html>"), "no chat completion"),
        ((200, []), "no chat completion"),
        ((200, {"choices": []}), "no chat completion"),
        ((200, {"choices": [{"message": None}]}), "no chat completion"),
        ((200, completion(None)), "has no text"),
        ((200, completion("  \n")), "has no text"),
        ((200, completion("A blue", "length")), "ended by 'length'"),
        ((200, completion('"a red  CUP"')), "was not changed"),
        ((200, b"\x1f\x8b", 0, {"Content-Type": "application/json"}), "no chat completion"),
        ((400, {"error": "filtered"}), "answers 400: .*filtered"),
        ((413, b"too long"), "answers 413: too long"),
    ],
)
def test_an_answer_of_no_use_is_none_with_a_reason(answer, reason, caplog):
    with Script(answer) as server, caplog.at_level(logging.WARNING, "tasks.endpoint"):
        assert injector(server.url)(QUESTION, CHOSEN, 1) is None
    (record,) = [r for r in caplog.records if r.name == "tasks.endpoint"]
    assert server.url in record.getMessage()
    assert re.search(reason, record.getMessage())


@pytest.mark.parametrize(
    ("url", "changes", "message"),
    [
        ("localhost:8000/v1", {}, "base_url must be"),
        ("ftp://host/v1", {}, "base_url must be"),
        ("http://", {}, "base_url must be"),
        ("http://host:port/v1", {}, "base_url is no address"),
        ("http://host", {"attempts": 0}, "attempts >= 1"),
        ("http://host", {"timeout": 0.0}, "timeout > 0"),
        ("http://host", {"temperature": -1.0}, "temperature >= 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(url, changes, message):
    with pytest.raises(ValueError, match=message):
        injector(url, **changes)


def test_a_password_in_the_address_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="without user and password") as raised:
        injector("https://me:hunter2@host/v1")
    assert "hunter2" not in str(raised.value)


def test_a_key_that_is_not_there_is_named_before_anything_is_sent(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with Script() as server, pytest.raises(ValueError, match="NO_SUCH_KEY holds no key"):
        injector(server.url, api_key_env="NO_SUCH_KEY")(QUESTION, CHOSEN, 1)
    assert server.asked == []
