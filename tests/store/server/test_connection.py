"""Addresses, the first contact, and what becomes of errors."""

from __future__ import annotations

import socket
from collections.abc import Callable

import httpx
import pytest
from qdrant_client import QdrantClient

from docrag.errors import ServerRefused, ServerUnreachable, SettingsError
from docrag.store.server import connection as module
from docrag.store.server.address import Address, is_address
from docrag.store.server.connection import FIRST_TRIES, MAX_RETRY_AFTER, TRIES, Connection, connect
from docrag.store.server.wire import GrpcWire, JsonWire
from tests.store.fake_grpc import FakeGrpc
from tests.store.fake_qdrant import FakeQdrant
from tests.store.local_mode import local_connection

KEY = "secret-4711"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize(
    ("uri", "url", "collection"),
    [
        ("http://localhost:6333/reports", "http://localhost:6333", "reports"),
        (" https://Qdrant.example/a.b-c_9/ ", "https://qdrant.example:6333", "a.b-c_9"),
        ("https://qdrant.example:443/Stra%C3%9Fen", "https://qdrant.example:443", "Straßen"),
        ("http://[::1]:7333/reports", "http://[::1]:7333", "reports"),
        ("http://localhost:8080/qdrant/reports", "http://localhost:8080/qdrant", "reports"),
        ("https://example.org/a/b/reports/", "https://example.org:443/a/b", "reports"),
        ("http://example.org/qdrant/reports", "http://example.org:80/qdrant", "reports"),
        ("http://a:6333,b/reports", "http://a:6333,b:6333", "reports"),
        ("https://a,https://[::1]:7333/q/reports", "https://a:443,[::1]:7333/q", "reports"),
    ],
)
def test_an_address_is_a_server_and_a_collection(uri: str, url: str, collection: str):
    address = Address.parse(uri)
    assert (address.url, address.collection) == (url, collection)
    assert address.secure == url.startswith("https")
    assert is_address(uri.strip())


def test_an_address_of_one_machine_is_written_as_ever():
    """The folder of an index on this machine has this name."""
    address = Address.parse("http://localhost/reports")
    assert (str(address), [*address.nodes]) == ("http://localhost:6333/reports", [address])


def test_each_machine_of_a_cluster_has_an_address_of_its_own():
    address = Address.parse("https://a:1,b:2/qdrant/reports")
    assert [str(node) for node in address.nodes] == [
        "https://a:1/qdrant/reports",
        "https://b:2/qdrant/reports",
    ]
    assert not Address.parse("http://localhost,b/reports").local
    assert Address.parse("http://localhost,127.0.0.1:7333/reports").local


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://localhost:6333", "name of a collection"),
        ("http://localhost:6333/", "name of a collection"),
        ("http://localhost:6333/a//b", "name of a collection"),
        ("http://localhost:6333/../b", "name of a collection"),
        ("http://localhost:6333/collections/reports", "address of Qdrant's API"),
        ("http://a:6333,/reports", "not an address"),
        (f"http://a,:{KEY}@b/reports", "no user, password"),
        ("http://localhost:6333/..", "name of a collection"),
        ("http://localhost:6333/a%2Fb", "name of a collection"),
        ("http://localhost:6333/" + "a" * 201, "name of a collection"),
        ("http://localhost:port/reports", "cannot be read"),
        ("http://:6333/reports", "not an address"),
        ("http://local host/reports", "not an address"),
        ("ftp://localhost/reports", "not an address"),
        (f"http://:{KEY}@localhost:6333/reports", "no user, password"),
        (f"http://localhost:6333/reports?api-key={KEY}", "no user, password"),
    ],
)
def test_what_is_no_address_is_refused_without_repeating_a_key(uri: str, reason: str):
    with pytest.raises(SettingsError, match=reason) as caught:
        Address.parse(uri)
    assert KEY not in str(caught.value)


def test_the_key_goes_along_and_the_version_comes_back():
    with FakeQdrant(key=KEY, version="1.20.3-dev") as fake:
        connection = connect(Address.parse(fake.uri), KEY)
        assert connection.version == (1, 20)
        assert isinstance(connection.wire, JsonWire)
        assert connection.info("reports") is None
        connection.close()
    assert {sent.headers["api-key"] for sent in fake.requests} == {KEY}


@pytest.mark.parametrize(("key", "shown"), [("", "DOCRAG_API_KEY"), (KEY, "DOCRAG_API_KEY")])
def test_a_wrong_key_is_told_and_not_repeated(key: str, shown: str):
    with FakeQdrant(key="another") as fake:
        with pytest.raises(ServerRefused, match="answered 401") as caught:
            connect(Address.parse(fake.uri), key)
        assert len(fake.requests) == 1
    assert shown in caught.value.hint
    assert caught.value.status == 401
    assert fake.uri.rpartition("/")[0] in caught.value.message
    assert KEY not in str(caught.value)


def test_a_key_that_cannot_be_sent_is_not_repeated_either():
    with pytest.raises(SettingsError, match="characters") as caught:
        connect(Address.parse("http://localhost/reports"), f"{KEY}\nmore")
    assert KEY not in str(caught.value)


def test_a_server_that_repeats_the_key_is_not_quoted():
    answer = httpx.Response(403, json={"status": {"error": f"no such key: {KEY}"}})
    with pytest.raises(ServerRefused, match=r"no such key: \*\*\*"):
        connect(
            Address.parse("http://localhost/reports"),
            KEY,
            prefer_grpc=False,
            transport=httpx.MockTransport(lambda request: answer),
        )


def test_nobody_there_is_told_after_two_tries():
    waits: list[float] = []
    uri = f"http://127.0.0.1:{free_port()}/reports"
    with pytest.raises(ServerUnreachable, match="refused") as caught:
        connect(Address.parse(uri), KEY, sleep=waits.append)
    assert uri.rpartition("/")[0] in caught.value.message
    assert "is Qdrant running" in caught.value.hint
    assert len(waits) == FIRST_TRIES - 1


@pytest.mark.parametrize(
    ("version", "reason"), [("1.15.5", r"docrag needs 1\.16"), ("unknown", "says that it is")]
)
def test_a_server_that_is_too_old_is_refused(version: str, reason: str):
    with FakeQdrant(version=version) as fake, pytest.raises(ServerRefused, match=reason):
        connect(Address.parse(fake.uri))


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, html="<p>Welcome to nginx!</p>"),
        httpx.Response(200, json={"hello": "world"}),
        httpx.Response(404, html="<p>no</p>"),
        httpx.Response(302, headers={"Location": "/login"}),
    ],
)
def test_another_server_is_no_qdrant(answer: httpx.Response):
    transport = httpx.MockTransport(lambda request: answer)
    with pytest.raises(ServerRefused) as caught:
        connect(Address.parse("http://localhost/reports"), prefer_grpc=False, transport=transport)
    assert "http://localhost:6333" in caught.value.message


def test_grpc_is_taken_where_it_answers():
    with FakeQdrant() as fake, FakeGrpc(fake.db) as service:
        connection = connect(Address.parse(fake.uri), KEY, grpc_port=service.port)
        assert isinstance(connection.wire, GrpcWire)
        assert connection.info("reports") is None
        assert service.metadata["api-key"] == KEY
        connection.close()
        plain = connect(Address.parse(fake.uri), grpc_port=service.port, prefer_grpc=False)
        assert isinstance(plain.wire, JsonWire)
        plain.close()


def test_rest_is_taken_where_grpc_does_not_answer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "GRPC_PROBE_TIMEOUT", 0.3)
    with FakeQdrant() as fake, socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        for port in (free_port(), deaf.getsockname()[1]):
            connection = connect(Address.parse(fake.uri), grpc_port=port)
            assert isinstance(connection.wire, JsonWire)
            connection.close()


def test_grpc_is_not_looked_for_where_another_server_might_be(monkeypatch: pytest.MonkeyPatch):
    def probe(*_: object) -> bool:
        raise AssertionError("asked for gRPC")

    monkeypatch.setattr(module, "_grpc_answers", probe)
    with FakeQdrant() as fake:
        connect(Address.parse(fake.uri)).close()


Answers = Callable[[httpx.Request], httpx.Response]


def connection_to(answers: Answers, waits: list[float]) -> Connection:
    client = QdrantClient(
        url="http://localhost:6333", transport=httpx.MockTransport(answers), check_compatibility=False
    )
    return Connection(Address.parse("http://localhost/reports"), client, JsonWire(client), sleep=waits.append)


@pytest.mark.parametrize(
    ("status", "tries"),
    [(429, TRIES), (500, TRIES), (502, TRIES), (503, TRIES), (400, 1), (403, 1), (409, 1)],
)
def test_only_what_may_pass_is_tried_again(status: int, tries: int):
    asked, waits = [], []

    def answers(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(status, json={"status": {"error": "the server's words"}})

    connection = connection_to(answers, waits)
    with pytest.raises((ServerRefused, ServerUnreachable), match=f"answered {status}: the server's words"):
        connection.call(connection.client.get_collections)
    assert len(asked) == tries
    assert waits == sorted(waits)
    connection.close()


@pytest.mark.parametrize(
    ("after", "least", "most"), [("7", 7, 8), ("0", 0, 1), ("Thu, 01 Jan 2026 00:00:00 GMT", 0.5, 1)]
)
def test_it_waits_as_long_as_a_busy_server_asks(after: str, least: float, most: float):
    waits: list[float] = []
    answers = iter([httpx.Response(429, headers={"Retry-After": after})])
    done = httpx.Response(200, json={"status": "ok", "time": 0, "result": {"collections": []}})
    connection = connection_to(lambda request: next(answers, done), waits)
    assert connection.call(connection.client.get_collections).collections == []
    assert least <= waits[0] <= most
    connection.close()


def test_a_server_that_wants_to_be_left_alone_for_long_is_an_error():
    waits: list[float] = []
    headers = {"Retry-After": str(int(MAX_RETRY_AFTER) + 1)}
    connection = connection_to(lambda request: httpx.Response(429, headers=headers), waits)
    with pytest.raises(ServerUnreachable) as caught:
        connection.call(connection.client.get_collections)
    assert "61 seconds" in caught.value.hint
    assert not waits
    connection.close()


def test_an_error_of_our_own_stays_what_it_is():
    connection = local_connection("reports")
    with pytest.raises(ZeroDivisionError):
        connection.call(lambda: 1 // 0)
    connection.close()
