"""Several machines of one cluster, and a server behind a path of a reverse proxy."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import httpx
import pytest

from docrag.errors import ServerUnreachable
from docrag.store.layout import Layout
from docrag.store.server import connection as module
from docrag.store.server.address import Address
from docrag.store.server.connection import Connection, connect
from docrag.store.server.store import ServerStore
from docrag.store.server.wire import GrpcWire, JsonWire
from docrag.types import PageRecord
from tests.store.fake_grpc import FakeGrpc
from tests.store.fake_qdrant import FakeQdrant
from tests.store.proxy import Proxy
from tests.store.server.test_connection import free_port
from tests.store.server.test_faults import FINGERPRINT, assert_whole


def port_of(server: FakeQdrant) -> int:
    return int(server.uri.split(":")[2].split("/")[0])


class Cluster:
    """A server that is reached through two doors, which stand for two machines of a cluster."""

    def __init__(self, first: Proxy, second: Proxy, server: FakeQdrant) -> None:
        self.first, self.second, self.server = first, second, server
        self.waits: list[float] = []
        self.uri = f"http://127.0.0.1:{first.port},127.0.0.1:{second.port}/reports"

    def connect(self, **options: object) -> Connection:
        return connect(Address.parse(self.uri), sleep=self.waits.append, **options)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with FakeQdrant() as server, Proxy(port_of(server)) as first, Proxy(port_of(server)) as second:
        yield Cluster(first, second, server)


def test_the_first_machine_that_answers_is_taken(cluster: Cluster, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "docrag")
    cluster.first.shut()
    cluster.connect().close()
    assert f"connected to http://127.0.0.1:{cluster.second.port} by REST" in caplog.text
    assert f"127.0.0.1:{cluster.first.port} did not answer" in caplog.text
    assert cluster.waits == [0]


def test_another_machine_goes_on_where_one_falls(cluster: Cluster, layout: Layout, records: list[PageRecord]):
    with ServerStore.create(cluster.connect(), layout, FINGERPRINT) as store:
        store.upsert(records[:10])
        cluster.first.shut()
        store.upsert(records[10:])
        assert_whole(store, records)
        cluster.second.shut()
        cluster.first.open()
        assert store.count() == len(records)
    assert set(cluster.waits) == {0}


def test_a_machine_that_hangs_gets_only_its_share_of_the_time(cluster: Cluster, layout: Layout):
    connection = cluster.connect(read_timeout=6)
    with ServerStore.create(connection, layout, FINGERPRINT) as store:
        cluster.first.hang()
        assert store.count() == 0
        cluster.first.go_on()


def test_all_machines_are_named_where_none_answers(cluster: Cluster):
    cluster.first.shut()
    cluster.second.shut()
    with pytest.raises(ServerUnreachable, match="refused") as caught:
        cluster.connect()
    assert caught.value.message.startswith(cluster.uri.rpartition("/")[0])
    assert [wait == 0 for wait in cluster.waits] == [True, False, True]


def test_calls_by_grpc_go_to_the_machine_that_answers(layout: Layout, records: list[PageRecord]):
    """Both machines have the same port of gRPC, as in a cluster, so they have addresses of their own."""
    with FakeQdrant() as server, FakeGrpc(server.db) as service, Proxy(port_of(server)) as first:
        uri = f"http://127.0.0.1:{first.port},localhost:{port_of(server)}/reports"
        connection = connect(Address.parse(uri), grpc_port=service.port, sleep=lambda _: None)
        assert isinstance(connection.wire, GrpcWire)
        with ServerStore.create(connection, layout, FINGERPRINT) as store:
            store.upsert(records)
            connection._nodes.move_on(0)  # the next calls go through the channel of the other machine
            assert_whole(store, records)


def test_a_call_by_grpc_that_one_machine_does_not_answer_goes_to_the_next(
    layout: Layout, records: list[PageRecord]
):
    """The first machine answers by REST, and nobody listens at its port of gRPC any more."""
    with FakeQdrant() as server, FakeGrpc(server.db) as service, Proxy(port_of(server)) as first:
        uri = f"http://127.0.0.1:{first.port},127.0.0.1:{port_of(server)}/reports"
        connection = connect(Address.parse(uri), grpc_port=service.port, sleep=lambda _: None)
        assert isinstance(connection.wire, GrpcWire)
        for channel in connection.client._client._grpc_channel_pool:
            channel._channels[0].close()
            channel._channels[0] = grpc.insecure_channel(f"127.0.0.1:{free_port()}")
        with ServerStore.create(connection, layout, FINGERPRINT) as store:
            store.upsert(records)
            assert_whole(store, records)
        assert connection._nodes.number == 1


class PrefixProxy(BaseHTTPRequestHandler):
    """A reverse proxy that shows a server under /search/qdrant, and nothing else."""

    target: str
    client: httpx.Client

    def forward(self) -> None:
        prefix = "/search/qdrant"
        if not self.path.startswith(f"{prefix}/") and self.path != prefix:
            self.send_error(404)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        url = self.target + (self.path.removeprefix(prefix) or "/")
        answer = self.client.request(self.command, url, content=body, headers=headers)
        self.send_response(answer.status_code)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = forward

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def behind_a_path() -> Iterator[str]:
    """The address of an index on a server behind a path."""
    with FakeQdrant() as server, httpx.Client() as client:
        target = server.uri.rpartition("/")[0]
        handler = type("Handler", (PrefixProxy,), {"target": target, "client": client})
        proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{proxy.server_address[1]}/search/qdrant/reports"
        proxy.shutdown()
        thread.join()
        proxy.server_close()


def test_an_index_behind_a_path_is_like_any_other(
    behind_a_path: str, layout: Layout, records: list[PageRecord]
):
    address = Address.parse(behind_a_path)
    connection = connect(address)
    assert isinstance(connection.wire, JsonWire)
    with ServerStore.create(connection, layout, FINGERPRINT) as store:
        store.upsert(records)
        assert_whole(store, records)
        assert store.fingerprint() == FINGERPRINT


def test_behind_a_path_grpc_is_tried_only_at_a_port_that_is_given():
    assert module._usual_grpc_port(Address.parse("http://localhost:6333/qdrant/reports")) == 0
    assert module._usual_grpc_port(Address.parse("http://a,b:6333/reports")) == 6334
    assert module._usual_grpc_port(Address.parse("http://a,b:7333/reports")) == 0
