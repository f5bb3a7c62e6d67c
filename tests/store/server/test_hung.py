"""A server that takes requests and answers none: each request ends in its time, whatever is tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from docrag.common.time_limit import patience, time_limit
from docrag.errors import ServerUnreachable
from docrag.store.layout import Layout
from docrag.store.server.address import Address
from docrag.store.server.connection import TRIES_WHEN_AWAY, connect
from docrag.store.server.store import ServerStore
from docrag.store.server.wire import GrpcWire, JsonWire
from docrag.types import PageRecord
from tests.store.fake_grpc import FakeGrpc
from tests.store.fake_qdrant import FakeQdrant
from tests.store.proxy import Proxy
from tests.store.server.test_faults import FINGERPRINT, assert_whole

READ, WRITE = 2.0, 4.0
"""Seconds that the requests of these tests have."""
BUSY = 3.0
"""Seconds that a machine with much else to do may take beside them."""


@pytest.fixture
def way(layout: Layout) -> Iterator[tuple[FakeQdrant, Proxy, Proxy, FakeGrpc]]:
    with (
        FakeQdrant() as server,
        FakeGrpc(server.db) as service,
        Proxy(int(server.uri.split(":")[2].split("/")[0])) as rest,
        Proxy(service.port) as grpc,
    ):
        yield server, rest, grpc, service


@pytest.fixture(params=["rest", "grpc"])
def hung(
    way: tuple[FakeQdrant, Proxy, Proxy, FakeGrpc], layout: Layout, request: pytest.FixtureRequest
) -> Iterator[tuple[ServerStore, Proxy]]:
    """A store, and the way to its server, which can be hung."""
    _, rest, grpc, _ = way
    by_grpc = request.param == "grpc"
    connection = connect(
        Address.parse(rest.uri),
        grpc_port=grpc.port,
        prefer_grpc=by_grpc,
        read_timeout=READ,
        write_timeout=WRITE,
    )
    assert isinstance(connection.wire, GrpcWire if by_grpc else JsonWire)
    with ServerStore.create(connection, layout, FINGERPRINT) as store:
        used = grpc if by_grpc else rest
        yield store, used
        used.go_on()


def seconds(do: Callable[[], object]) -> float:
    """How long something took that the server did not answer."""
    started = time.perf_counter()
    with pytest.raises(ServerUnreachable, match="no answer in time") as caught:
        do()
    assert "ipv4" not in str(caught.value)
    return time.perf_counter() - started


def test_a_read_ends_in_its_time(hung: tuple[ServerStore, Proxy]):
    store, way = hung
    way.hang()
    assert READ * 0.9 < seconds(store.count) < READ + BUSY
    assert READ * 0.9 < seconds(lambda: list(store.scroll())) < READ + BUSY


def test_a_write_has_more_time_and_is_whole_afterwards(
    hung: tuple[ServerStore, Proxy], records: list[PageRecord]
):
    store, way = hung
    way.hang()
    assert WRITE * 0.9 < seconds(lambda: store.upsert(records[:3])) < WRITE + BUSY
    way.go_on()
    store.upsert(records[:3])
    assert_whole(store, records[:3])


def test_an_ingest_reads_as_patiently_as_it_writes(hung: tuple[ServerStore, Proxy]):
    store, way = hung
    way.hang()
    with patience():
        assert WRITE * 0.9 < seconds(store.count) < WRITE + BUSY


def test_all_requests_within_a_limit_share_its_time(hung: tuple[ServerStore, Proxy]):
    store, way = hung
    way.hang()
    with time_limit(0.2):
        assert seconds(store.count) < READ
        assert seconds(store.count) < READ / 2


def test_a_server_that_goes_on_in_time_is_waited_for(hung: tuple[ServerStore, Proxy]):
    store, way = hung
    way.hang()
    with patience():
        timer = threading.Timer(0.5, way.go_on)
        timer.start()
        assert store.count() == 0
        timer.join()


def test_a_connection_to_a_hung_server_ends_in_its_time(way: tuple[FakeQdrant, Proxy, Proxy, FakeGrpc]):
    _, rest, _, _ = way
    rest.hang()
    assert seconds(lambda: connect(Address.parse(rest.uri), read_timeout=READ)) < READ + BUSY


def test_tries_end_when_the_next_one_would_be_too_late(
    way: tuple[FakeQdrant, Proxy, Proxy, FakeGrpc], layout: Layout
):
    _, rest, _, _ = way
    waits: list[float] = []
    connection = connect(Address.parse(rest.uri), read_timeout=3, sleep=waits.append)
    with ServerStore.create(connection, layout, FINGERPRINT) as store:
        rest.shut()
        with pytest.raises(ServerUnreachable, match="refused"):
            store.count()
        assert all(wait < 3 for wait in waits)
        assert waits
        waits.clear()
        with time_limit(3, only_one_try=True), pytest.raises(ServerUnreachable):
            store.count()
        assert not waits


def test_once_a_server_was_waited_for_in_vain_nobody_waits_long_until_it_is_back(
    way: tuple[FakeQdrant, Proxy, Proxy, FakeGrpc], layout: Layout
):
    _, rest, _, _ = way
    waits: list[float] = []
    connection = connect(Address.parse(rest.uri), sleep=waits.append)

    def tries() -> int:
        waits.clear()
        with pytest.raises(ServerUnreachable):
            store.count()
        return len(waits) + 1

    with ServerStore.create(connection, layout, FINGERPRINT) as store:
        rest.shut()
        assert tries() > TRIES_WHEN_AWAY
        assert tries() == TRIES_WHEN_AWAY
        with patience():  # an ingest waits all the same
            assert tries() > TRIES_WHEN_AWAY
        rest.open()
        assert store.count() == 0
        rest.shut()
        assert tries() > TRIES_WHEN_AWAY
