"""The client for models behind an HTTP API, against a server on this machine."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from time import time

import pytest

from docrag.common.http import ATTEMPTS, BUSY_ATTEMPTS, JsonClient, retry_after
from docrag.errors import RemoteError, SettingsError
from tests.servers import Answer, ModelServer

KEY = "sk-secret-4711"
Connect = Callable[..., tuple[JsonClient, ModelServer]]


@pytest.fixture
def waits() -> list[float]:
    """The waits that the client asked for, in seconds; it does not really wait."""
    return []


@pytest.fixture
def connect(waits: list[float]) -> Iterator[Connect]:
    """Starts a server with a script, and a client for it."""
    opened = []

    def start(*script: Answer, **options: object) -> tuple[JsonClient, ModelServer]:
        server = ModelServer(lambda request: Answer(body={"echo": request.body}), script).__enter__()
        client = JsonClient(server.url, KEY, sleep=waits.append, **options)
        opened.append((client, server))
        return client, server

    yield start
    for client, server in opened:
        client.close()
        server.__exit__()


def test_a_post_carries_key_and_json(connect: Connect):
    client, server = connect()
    assert client.post("things", {"text": "Straße \ud800"}) == {"echo": {"text": "Straße \ud800"}}
    [request] = server.requests
    assert request.path == "/v1/things"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"


def test_no_key_sends_no_header_and_a_slash_behind_the_address_does_no_harm(connect: Connect):
    _, server = connect()
    client = JsonClient(f" {server.url}/ ")
    client.post("things", {})
    client.close()
    assert server.requests[0].path == "/v1/things"
    assert "authorization" not in server.requests[0].headers


def test_it_waits_as_long_as_a_busy_server_asks(connect: Connect, waits: list[float]):
    busy = [Answer(429, headers={"Retry-After": "7"}), Answer(429, headers={"Retry-After": "0"})]
    client, server = connect(*busy)
    assert client.post("things", {"a": 1}) == {"echo": {"a": 1}}
    assert [request.body for request in server.requests] == 3 * [{"a": 1}]
    assert 7 <= waits[0] <= 8
    assert 0 <= waits[1] <= 1


def test_it_waits_until_the_date_that_a_busy_server_names(connect: Connect, waits: list[float]):
    client, _ = connect(Answer(429, headers={"Retry-After": formatdate(time() + 30, usegmt=True)}))
    client.post("things", {})
    assert 28 <= waits[0] <= 31


def test_it_waits_longer_each_time_if_the_server_does_not_say_how_long(connect: Connect, waits: list[float]):
    client, server = connect(*[Answer(429, headers={"Retry-After": "soon"}), Answer(429), Answer(429)])
    client.post("things", {})
    assert len(server.requests) == 4
    for wait, least in zip(waits, (1, 2, 4), strict=True):
        assert least <= wait <= least + 1


def test_a_wait_that_is_too_long_is_an_error_at_once(connect: Connect, waits: list[float]):
    client, server = connect(Answer(429, {"detail": "quota"}, {"Retry-After": "86400"}))
    with pytest.raises(RemoteError, match=r"429: quota.*86400 seconds"):
        client.post("things", {})
    assert len(server.requests) == 1
    assert waits == []


def test_a_rate_limit_per_minute_is_waited_out(connect: Connect, waits: list[float]):
    client, server = connect(*BUSY_ATTEMPTS * [Answer(429)])
    with pytest.raises(RemoteError, match="answered 429"):
        client.post("things", {})
    assert len(server.requests) == BUSY_ATTEMPTS
    assert sum(waits) > 120


@pytest.mark.parametrize(
    "passing", [Answer(500, "oops"), Answer(503), Answer(drop=True)], ids=["500", "503", "dropped"]
)
def test_temporary_failures_are_retried(connect: Connect, passing: Answer):
    client, server = connect(passing, passing)
    assert client.post("things", {}) == {"echo": {}}
    assert len(server.requests) == 3


def test_a_slow_answer_is_retried(connect: Connect):
    client, server = connect(Answer(after=2), timeout=0.2)
    assert client.post("things", {}) == {"echo": {}}
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("failing", "message"),
    [
        (Answer(500, "oops"), "answered 500: oops"),
        (Answer(drop=True), "disconnected"),
        (Answer(after=1), "no answer within 0.1 seconds"),
    ],
    ids=["500", "dropped", "slow"],
)
def test_retries_end(connect: Connect, failing: Answer, message: str):
    client, server = connect(*ATTEMPTS * [failing], timeout=0.1 if failing.after else 5)
    with pytest.raises(RemoteError, match=message) as caught:
        client.post("things", {})
    assert server.url in caught.value.message
    assert caught.value.hint
    assert len(server.requests) == ATTEMPTS


def test_an_address_where_nothing_listens_is_named():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    waits: list[float] = []
    client = JsonClient(url, KEY, sleep=waits.append)
    with pytest.raises(RemoteError, match=f"{url}/things: .*check that the server is running"):
        client.post("things", {})
    client.close()
    assert len(waits) == ATTEMPTS - 1


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 413, 422])
def test_other_refusals_are_final(connect: Connect, status: int):
    client, server = connect(Answer(status, {"error": {"message": f"no, {KEY} is wrong " + 300 * "x"}}))
    with pytest.raises(RemoteError, match=rf"answered {status}: no, \*\*\* is wrong x+…") as caught:
        client.post("things", {})
    assert len(server.requests) == 1
    assert caught.value.status == status
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [{"detail": "bad"}, {"error": "bad"}, {"error": {"message": "bad"}}, {"message": "bad"}, "bad"],
)
def test_the_reason_is_found_in_every_form(connect: Connect, body: object):
    client, _ = connect(Answer(401, body))
    with pytest.raises(RemoteError, match=r"answered 401: bad \(check the key\)"):
        client.post("things", {})


@pytest.mark.parametrize("body", ["<html>Log in</html>", "[1]", ""])
def test_an_answer_that_is_not_an_object_is_an_error(connect: Connect, body: str):
    client, server = connect(Answer(body=body))
    with pytest.raises(RemoteError, match="did not answer with a JSON object"):
        client.post("things", {})
    assert len(server.requests) == 1


def test_an_address_is_shown_without_password():
    client = JsonClient("http://me:hidden@127.0.0.1:9/v1?token=hidden")
    assert client.address("things") == "http://127.0.0.1:9/v1/things"
    client.close()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host/v1", "", "http://", "http://[::1"])
def test_an_invalid_address_is_refused(url: str):
    with pytest.raises(SettingsError, match="not a valid"):
        JsonClient(url)


@pytest.mark.parametrize("key", ["sk-a\nb", "sk-ü", "sk a", "sk-\x00"])
def test_an_invalid_key_is_refused_and_not_shown(key: str):
    with pytest.raises(SettingsError, match="characters") as caught:
        JsonClient("http://127.0.0.1:9", key)
    assert key not in str(caught.value)


def test_threads_share_a_client(connect: Connect):
    client, server = connect(Answer(429), Answer(500), Answer(drop=True))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: client.post("things", {"i": i}), range(40)))
    assert answers == [{"echo": {"i": i}} for i in range(40)]
    assert len(server.requests) == 43


def test_retries_are_logged_without_the_key(connect: Connect, caplog: pytest.LogCaptureFixture):
    busy = Answer(429, {"detail": f"{KEY} is busy"}, {"Retry-After": "7"})
    client, server = connect(busy, Answer(503, "starting"))
    with caplog.at_level(logging.INFO, logger="docrag.common.http"):
        client.post("things", {"text": "secret question"})
    first, second = caplog.messages
    assert re.fullmatch(
        rf"{server.url}/things answered 429: \*\*\* is busy; retrying in [78]\.\d seconds \(attempt 2 of 8\)",
        first,
    )
    assert re.fullmatch(r".*answered 503: starting; retrying in [23]\.\d seconds \(attempt 3 of 4\)", second)
    assert "secret question" not in caplog.text


@pytest.mark.parametrize("value", ["", "soon", "nan", "inf", "Thu, 99 Foo"])
def test_a_wait_that_cannot_be_parsed_is_none(value: str):
    assert retry_after(value, 0.0) is None


def test_a_date_that_has_passed_asks_for_no_wait():
    assert retry_after("Thu, 01 Jan 1970 00:00:05 GMT", 100.0) == 0
