"""A way to the server that breaks, between any two bytes: nothing acknowledged is lost or there twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from qdrant_client import QdrantClient

from docrag.errors import ServerRefused, ServerUnreachable
from docrag.store.layout import Fingerprint, Layout
from docrag.store.requests import FieldMatch, PayloadFilter
from docrag.store.server import alias
from docrag.store.server.address import Address
from docrag.store.server.connection import TRIES, WRITE_TIMEOUT, Connection, connect
from docrag.store.server.store import ServerStore
from docrag.store.server.wire import GrpcWire, JsonWire
from docrag.types import PageRecord
from tests.store.fake_grpc import FakeGrpc
from tests.store.fake_qdrant import FakeQdrant, Fault
from tests.store.proxy import Break, Proxy
from tests.store.server.test_faults import FINGERPRINT, assert_whole

FIRST = PayloadFilter(must=(FieldMatch("metadata.page", (0,)),))


class Road:
    """A store, the servers behind it, and the proxies between."""

    def __init__(
        self, layout: Layout, server: FakeQdrant, rest: Proxy, service: FakeGrpc, grpc: Proxy
    ) -> None:
        self.server, self.rest, self.service, self.grpc = server, rest, service, grpc
        self.waits: list[float] = []
        self.on_wait: Callable[[], None] = lambda: None
        self._layout = layout

    def store(
        self, by_grpc: bool = False, timeout: int = 60, write_timeout: float = WRITE_TIMEOUT
    ) -> ServerStore:
        self._shortest = 0.3 if by_grpc else 0.0  # gRPC takes its own time to connect again
        connection = connect(
            Address.parse(self.rest.uri),
            grpc_port=self.grpc.port,
            prefer_grpc=by_grpc,
            timeout=timeout,
            write_timeout=write_timeout,
            sleep=self._wait,
        )
        assert isinstance(connection.wire, GrpcWire if by_grpc else JsonWire)
        return ServerStore.create(connection, self._layout, FINGERPRINT)

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.on_wait()
        time.sleep(self._shortest)


@pytest.fixture
def road(layout: Layout) -> Iterator[Road]:
    with (
        FakeQdrant() as server,
        FakeGrpc(server.db) as service,
        Proxy(int(server.uri.split(":")[2].split("/")[0])) as rest,
        Proxy(service.port) as grpc,
    ):
        yield Road(layout, server, rest, service, grpc)


PLACES = {
    "before the first byte": [Break("there", 0)],
    "in the head of the request": [Break("there", 50)],
    "in the middle of the request": [Break("there", 20_000)],
    "before the answer": [Break("back", 0)],
    "in the head of the answer": [Break("back", 30)],
    "in the middle of the answer": [Break("back", 150)],
    "several times": [Break("there", 9_000), Break("back", 0), Break("there", 0), Break("back", 40)],
}


@pytest.mark.slow
@pytest.mark.parametrize("by_grpc", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_wherever_a_connection_is_cut_all_pages_are_there_once(
    road: Road, records: list[PageRecord], place: str, by_grpc: bool
):
    with road.store(by_grpc) as store:
        way = road.grpc if by_grpc else road.rest
        way.plan(*PLACES[place])
        store.upsert(records)
        if by_grpc:  # it connects again by itself, and its answers are shorter than those of REST
            assert 0 < len(road.waits) <= way.broken or place == "in the middle of the answer"
        else:
            assert len(road.waits) == way.broken == len(PLACES[place])
        assert_whole(store, records)


@pytest.mark.parametrize("by_grpc", [False, True])
def test_a_server_that_restarts_is_waited_for(road: Road, records: list[PageRecord], by_grpc: bool):
    with road.store(by_grpc) as store:
        store.upsert(records[:10])
        way = road.grpc if by_grpc else road.rest
        way.shut()
        road.on_wait = lambda: way.open() if len(road.waits) == 3 else None
        store.upsert(records[10:])
        assert len(road.waits) == 3 or (by_grpc and len(road.waits) < TRIES)
        assert_whole(store, records)


@pytest.mark.slow
@pytest.mark.parametrize("by_grpc", [False, True])
def test_a_server_that_stays_away_is_named_with_what_to_try(
    road: Road, records: list[PageRecord], by_grpc: bool
):
    with road.store(by_grpc) as store:
        store.upsert(records[:10])
        way = road.grpc if by_grpc else road.rest
        way.shut()
        with pytest.raises(ServerUnreachable) as caught:
            store.upsert(records[10:])
        assert caught.value.message.startswith(road.rest.uri.rpartition("/")[0])
        assert "is Qdrant running" in caught.value.hint
        assert WRITE_TIMEOUT - 31 < sum(road.waits) <= WRITE_TIMEOUT
        way.open()
        time.sleep(1.5 if by_grpc else 0)  # gRPC takes its own time to connect again
        assert_whole(store, records[:10])  # what was acknowledged is there


@pytest.mark.slow
@pytest.mark.parametrize("by_grpc", [False, True])
def test_an_answer_that_never_comes_is_given_up_and_asked_for_again(
    road: Road, records: list[PageRecord], by_grpc: bool
):
    with road.store(by_grpc, timeout=1) as store:
        way = road.grpc if by_grpc else road.rest
        way.plan(Break("back", 0, stall=1.6))
        store.upsert(records)
        assert len(road.waits) == 1
        assert_whole(store, records)


def test_an_answer_in_slow_pieces_is_waited_for(road: Road, records: list[PageRecord]):
    with road.store(timeout=1) as store:
        store.upsert(records)
        road.rest.plan(*[Break("back", after, stall=0.4) for after in (0, 200, 300, 300)])
        assert_whole(store, records)
        assert (road.rest.broken, road.waits) == (4, [])


@pytest.mark.slow
def test_answers_that_are_always_late_are_an_error(road: Road, records: list[PageRecord]):
    with road.store(timeout=1, write_timeout=3) as store:
        road.server.faults += [Fault(slow=1.2)] * 10
        with pytest.raises(ServerUnreachable, match="no answer in time") as caught:
            store.upsert(records[:3])
        assert caught.value.message.startswith(road.rest.uri.rpartition("/")[0])
        assert caught.value.hint
        road.server.faults.clear()
        store.upsert(records[:3])  # the late ones were carried out, too
        assert_whole(store, records[:3])


def changed(store: ServerStore) -> dict[str, object]:
    """What the changes below do, as the index tells it."""
    return {record.id: record.payload for record in store.scroll()}


CHANGES: dict[str, Callable[[ServerStore], object]] = {
    "set_payload": lambda store: store.set_payload({"source": "/b.pdf"}, FIRST, key="metadata"),
    "set_payloads": lambda store: store.set_payloads(
        {record.id: {"image_url": f"http://here/{record.id}.jpg"} for record in store.scroll(FIRST)}
    ),
    "delete": lambda store: store.delete(FIRST),
    "set_fingerprint": lambda store: store.set_fingerprint(Fingerprint({"layout": 1, "text": None})),
    "switch_alias": lambda store: alias.switch_alias(store.connection, "reports", "reports--1"),
    "a new alias": lambda store: alias.switch_alias(store.connection, "others", "reports--1"),
    "staging": lambda store: ServerStore.staging(store.connection, store.layout, FINGERPRINT),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_whose_answer_was_lost_is_made_once(road: Road, records: list[PageRecord], change: str):
    with road.store() as store:
        store.upsert(records[:10])
        CHANGES[change](store)
        expected = changed(store), store.fingerprint()
    again = FakeQdrant()
    with again, road_store(again, store.layout) as other:
        other.upsert(records[:10])
        again.faulty = r".*"
        again.faults += [Fault(cut="after")] * 3
        CHANGES[change](other)
        again.faults.clear()
        assert (changed(other), other.fingerprint()) == expected
        names = {collection.name for collection in again.db.get_collections().collections}
        assert names == {collection.name for collection in road.server.db.get_collections().collections}


def road_store(server: FakeQdrant, layout: Layout) -> ServerStore:
    connection = connect(Address.parse(server.uri), sleep=lambda _: None)
    return ServerStore.create(connection, layout, FINGERPRINT)


def test_a_collection_that_was_dropped_without_an_answer_is_gone(road: Road):
    with road.store() as store:
        new = ServerStore.staging(store.connection, store.layout, Fingerprint({"layout": 2}))
        road.server.faulty = rf"/collections/{new.collection}"
        road.server.faults += [Fault(), Fault(cut="after")]  # of asking for it, of dropping it
        alias.drop_collection(store.connection, new.collection)
        assert not road.server.faults
        assert store.connection.info(new.collection) is None


PROXY_WORDS = (
    "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr>nginx</body></html>"
)


@pytest.mark.parametrize(
    ("status", "words", "error", "hint"),
    [
        (502, "502 Bad Gateway", ServerUnreachable, "log"),
        (504, "504 Gateway Time-out", ServerUnreachable, "log"),
        (429, "429 Too Many Requests", ServerUnreachable, "send fewer requests"),
        (413, "413 Request Entity Too Large", ServerRefused, "max_request_size_mb"),
    ],
)
def test_what_a_proxy_says_in_html_is_told_with_the_address(
    status: int, words: str, error: type[Exception], hint: str
):
    answer = httpx.Response(status, html=PROXY_WORDS.format(words))
    with pytest.raises(error, match=rf"http://localhost:6333 answered {status}: .*{words}") as caught:
        ask(lambda request: answer)
    assert hint in caught.value.hint


def test_a_machine_that_takes_no_connections_is_told():
    def late(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("timed out")

    with pytest.raises(ServerUnreachable, match="http://localhost:6333: no connection") as caught:
        ask(late)
    assert "is Qdrant running" in caught.value.hint


def ask(answers: Callable[[httpx.Request], httpx.Response]) -> None:
    transport = httpx.MockTransport(answers)
    client = QdrantClient(url="http://localhost:6333", transport=transport, check_compatibility=False)
    address = Address.parse("http://localhost/reports")
    connection = Connection(address, client, JsonWire(client), sleep=lambda _: None)
    try:
        connection.call(client.get_collections)
    finally:
        connection.close()
