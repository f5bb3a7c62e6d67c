"""Every store that docrag has, and a real server where DOCRAG_TEST_QDRANT_URL names one.

DOCRAG_TEST_QDRANT_URL=http://localhost:6333 is enough; DOCRAG_TEST_QDRANT_KEY is its key, and
DOCRAG_TEST_QDRANT_GRPC its port of gRPC, without which gRPC is tried only beside port 6333. Each test makes a
collection of its own there, and drops it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from docrag.store.base import Store
from docrag.store.layout import KEYWORDS, Fingerprint, Layout
from docrag.store.local.store import EdgeStore
from docrag.store.server.address import Address
from docrag.store.server.connection import connect
from docrag.store.server.schema import HELD_BY
from docrag.store.server.store import ServerStore
from docrag.store.server.wire import GrpcWire, JsonWire
from tests.store.fake_grpc import FakeGrpc
from tests.store.fake_qdrant import FakeQdrant
from tests.store.local_mode import local_connection

Open = Callable[[Path, Layout], AbstractContextManager[Store]]
FINGERPRINT = Fingerprint({"layout": 1, "late": None, "image": None, "text": {"family": "minilm"}})
REAL = os.environ.get("DOCRAG_TEST_QDRANT_URL", "")


@contextmanager
def embedded(folder: Path, layout: Layout) -> Iterator[Store]:
    with EdgeStore.create(folder / "shard", layout) as store:
        yield store


@contextmanager
def local(folder: Path, layout: Layout) -> Iterator[Store]:
    with ServerStore.create(local_connection("reports"), layout, FINGERPRINT) as store:
        yield store


@contextmanager
def rest(folder: Path, layout: Layout) -> Iterator[Store]:
    FakeQdrant.indexed = frozenset((*KEYWORDS, HELD_BY))
    with (
        FakeQdrant() as fake,
        ServerStore.create(connect(Address.parse(fake.uri)), layout, FINGERPRINT) as store,
    ):
        yield store


@contextmanager
def by_grpc(folder: Path, layout: Layout) -> Iterator[Store]:
    with FakeQdrant() as fake, FakeGrpc(fake.db) as service:
        connection = connect(Address.parse(fake.uri), grpc_port=service.port)
        with ServerStore.create(connection, layout, FINGERPRINT) as store:
            yield store


@contextmanager
def real(folder: Path, layout: Layout, by_grpc: bool = False) -> Iterator[Store]:
    """A collection of its own on a real server; a server that does not answer fails the test."""
    address = Address.parse(f"{REAL.rstrip('/')}/docrag-test-{uuid.uuid4().hex}")
    key, port = os.environ.get("DOCRAG_TEST_QDRANT_KEY", ""), os.environ.get("DOCRAG_TEST_QDRANT_GRPC")
    connection = connect(address, key, prefer_grpc=by_grpc, grpc_port=int(port) if port else None)
    try:
        assert isinstance(connection.wire, GrpcWire if by_grpc else JsonWire), "gRPC does not answer"
        with ServerStore.create(connection, layout, FINGERPRINT) as store:
            yield store
    finally:
        connection.close()
        connection = connect(address, key, prefer_grpc=False)  # a test may have closed the other one
        connection.client.delete_collection(f"{address.collection}--1")  # and with it its alias
        connection.close()


@contextmanager
def real_by_grpc(folder: Path, layout: Layout) -> Iterator[Store]:
    with real(folder, layout, by_grpc=True) as store:
        yield store


OPENERS: dict[str, Open] = {"edge": embedded, "local": local, "rest": rest, "grpc": by_grpc}
if REAL:
    OPENERS["server"] = real
if REAL and (os.environ.get("DOCRAG_TEST_QDRANT_GRPC") or REAL.rstrip("/").endswith(":6333")):
    OPENERS["server by grpc"] = real_by_grpc
