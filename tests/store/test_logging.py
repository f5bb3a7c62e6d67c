"""What the stores log: quiet by default, and with -v what they decided."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from docrag.store.layout import Fingerprint, Layout
from docrag.store.local import store as edge
from docrag.store.local.store import EdgeStore
from docrag.store.server import alias
from docrag.store.server.address import Address
from docrag.store.server.connection import connect
from docrag.store.server.store import ServerStore
from docrag.types import PageRecord
from tests.store.fake_grpc import FakeGrpc
from tests.store.fake_qdrant import FakeQdrant, Fault

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no")

FINGERPRINT = Fingerprint({"layout": 1, "text": {}})
KEY = "secret-4711"


@pytest.fixture(autouse=True)
def all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "docrag")


def messages(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> str:
    """What docrag logged at a level, as one text."""
    records = [
        record for record in caplog.records if record.name.startswith("docrag") and record.levelno == level
    ]
    return "\n".join(record.getMessage() for record in records)


def test_the_connection_is_described(caplog: pytest.LogCaptureFixture):
    with FakeQdrant(version="1.20.3", key=KEY) as fake, FakeGrpc(fake.db) as service:
        address = Address.parse(fake.uri)
        connect(address, KEY, prefer_grpc=False).close()
        connect(address, KEY, grpc_port=service.port).close()
        connect(address, KEY, grpc_port=9).close()
    assert f"connected to {address.url} by REST: Qdrant 1.20" in messages(caplog)
    assert f"connected to {address.url} by gRPC: Qdrant 1.20" in messages(caplog)
    assert "no gRPC at 127.0.0.1:9, using REST" in messages(caplog)
    assert KEY not in caplog.text


def test_retries_say_why(caplog: pytest.LogCaptureFixture):
    with FakeQdrant(key=KEY) as fake:
        connection = connect(Address.parse(fake.uri), KEY, sleep=lambda seconds: None)
        fake.faulty = r"/collections"
        fake.faults += [Fault(503), Fault(429, {"Retry-After": "3"})]
        connection.call(connection.client.get_collections)
        connection.close()
    assert "(try 1 failed)" in messages(caplog)
    assert "answered 503" in messages(caplog)
    assert re.search(r"retrying in (3\.|4\.0)", messages(caplog))
    assert KEY not in caplog.text


def test_collections_are_created_switched_and_dropped(caplog: pytest.LogCaptureFixture, layout: Layout):
    with FakeQdrant() as fake:
        connection = connect(Address.parse(fake.uri))
        ServerStore.create(connection, layout, FINGERPRINT)
        new = ServerStore.staging(connection, layout, Fingerprint({"layout": 2}))
        alias.switch_alias(connection, "reports", new.collection)
        alias.drop_collection(connection, "reports--1")
        url = connection.address.url
        connection.close()
    text = messages(caplog)
    assert f"created the collection {url}/reports--1" in text
    assert f"alias {url}/reports now points to the collection reports--2" in text
    assert f"dropped the collection {url}/reports--1" in text


def test_batches_that_are_split_are_reported(
    caplog: pytest.LogCaptureFixture, layout: Layout, records: list[PageRecord]
):
    with FakeQdrant() as fake:
        fake.most_bytes = 9_000
        store = ServerStore.create(connect(Address.parse(fake.uri)), layout, FINGERPRINT)
        store.upsert(records)
        store.close()
    assert "splitting a batch of 30 pages" in messages(caplog)
    assert "the server refused" in messages(caplog)


def test_an_embedded_index_reports_its_cache_and_its_reopening(
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    layout: Layout,
    records: list[PageRecord],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(edge, "RENEW_BYTES", 1000)
    with EdgeStore.create(tmp_path / "shard", layout) as store:
        store.upsert(records)
        store.flush()
        store.retrieve([record.id for record in records[:3]])
        store.retrieve([record.id for record in records[:3]])
    assert messages(caplog) == f"created an index in {tmp_path / 'shard'}"
    debug = messages(caplog, logging.DEBUG)
    assert f"reopening {tmp_path / 'shard'} to free memory" in debug
    assert "3 records found in it, 3 added" in debug
