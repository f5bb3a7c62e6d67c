"""How pages are read: vectors without compression, from each form of answer that servers give."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient

from docrag.errors import ServerRefused, ServerUnreachable, StoreError
from docrag.store.layout import Layout
from docrag.store.requests import FieldMatch, PayloadFilter, QueryRequest
from docrag.store.server.address import Address
from docrag.store.server.connection import Connection, connect
from docrag.store.server.store import ServerStore
from docrag.store.server.wire import JsonWire
from docrag.types import PageRecord, SparseVector
from tests.store.engines import FINGERPRINT
from tests.store.fake_grpc import FakeGrpc
from tests.store.fake_qdrant import FakeQdrant, Fault
from tests.store.proxy import Proxy

TEXT = "the same words again, " * 10_000
"""Compressed to a hundredth."""


@pytest.fixture(params=["rest", "grpc", "grpc of 1.16"])
def served(request: pytest.FixtureRequest, layout: Layout) -> Iterator[tuple[FakeQdrant, ServerStore]]:
    with FakeQdrant() as fake, FakeGrpc(fake.db, flat=request.param == "grpc of 1.16") as service:
        port = service.port if request.param != "rest" else None
        connection = connect(Address.parse(fake.uri), grpc_port=port, prefer_grpc=port is not None)
        with ServerStore.create(connection, layout, FINGERPRINT) as store:
            yield fake, store


def test_all_vectors_of_a_page_are_read_as_they_were_written(
    served: tuple[FakeQdrant, ServerStore], layout: Layout, records: list[PageRecord]
):
    _, store = served
    store.upsert(records[:3])
    found = store.retrieve([record.id for record in records[:3]], vectors=sorted(layout.names))
    for record, expected in zip(found, records, strict=False):
        assert record.payload == expected.payload
        assert set(record.vectors) == set(expected.vectors)
        for name, vector in expected.vectors.items():
            if isinstance(vector, SparseVector):
                by_term = dict(zip(vector.indices, vector.values, strict=True))
                read = record.vectors[name]
                assert dict(zip(read.indices, read.values, strict=True)) == pytest.approx(by_term)
            else:
                assert record.vectors[name].dtype == np.float32
                np.testing.assert_allclose(record.vectors[name], vector, atol=1e-5)


def test_a_query_reads_vectors_and_payload_of_its_pages(
    served: tuple[FakeQdrant, ServerStore], records: list[PageRecord]
):
    _, store = served
    store.upsert(records[:5])
    wanted = records[3]
    request = QueryRequest(wanted.vectors["caption"], "caption", 2)
    [[best, _]] = store.query([request], vectors=["patches"], payload=["metadata.page"])
    assert best.id == wanted.id
    assert best.record is not None
    assert best.record.payload == {"metadata": {"page": wanted.payload["metadata"]["page"]}}
    np.testing.assert_allclose(best.record.vectors["patches"], wanted.vectors["patches"], atol=1e-5)
    [[plain, _]] = store.query([request])
    assert plain.record is None


def test_a_scroll_goes_through_all_steps(
    served: tuple[FakeQdrant, ServerStore], records: list[PageRecord], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("docrag.store.server.store._SCROLL_SIZE", 4)
    _, store = served
    store.upsert(records)
    assert sorted(record.id for record in store.scroll(payload=[])) == sorted(r.id for r in records)
    of_one = PayloadFilter(must=(FieldMatch("metadata.file_name", ("2.pdf",)),))
    assert len(list(store.scroll(of_one, payload=["metadata"]))) == 5


def test_by_rest_only_answers_with_vectors_come_uncompressed(layout: Layout, records: list[PageRecord]):
    with FakeQdrant() as fake:
        store = ServerStore.create(connect(Address.parse(fake.uri)), layout, FINGERPRINT)
        store.upsert(records[:2])
        request = QueryRequest(records[0].vectors["caption"], "caption", 2)
        reads = {
            "vectors": lambda: store.retrieve([records[0].id], vectors=["patches"]),
            "vectors of a query": lambda: store.query([request], vectors=["patches"]),
            "payload": lambda: store.retrieve([records[0].id]),
            "scroll": lambda: list(store.scroll()),
        }
        encodings = {}
        for name, read in reads.items():
            read()
            encodings[name] = fake.requests[-1].headers["accept-encoding"]
        store.close()
    assert encodings.pop("vectors") == encodings.pop("vectors of a query") == "identity"
    assert all("gzip" in encoding for encoding in encodings.values())


@pytest.mark.parametrize("by_docrag", [True, False])
def test_by_grpc_no_answer_comes_compressed(by_docrag: bool, layout: Layout, records: list[PageRecord]):
    """The client alone takes a hundredth of the bytes, which shows that the stand-in does compress."""
    page = dataclasses.replace(records[0], payload={**records[0].payload, "page_content": TEXT})
    with FakeQdrant() as fake, FakeGrpc(fake.db) as service, Proxy(service.port) as road:
        with ServerStore.create(connect(Address.parse(fake.uri)), layout, FINGERPRINT) as store:
            store.upsert([page])
        if by_docrag:
            connection = connect(Address.parse(fake.uri), grpc_port=road.port)
            with ServerStore(connection, "reports", layout) as store:
                assert store.retrieve([page.id])[0].payload["page_content"] == TEXT
        else:
            client = QdrantClient(
                url=fake.uri.rpartition("/")[0],
                grpc_port=road.port,
                prefer_grpc=True,
                timeout=60,
                check_compatibility=False,
            )
            assert client.retrieve("reports", [page.id])[0].payload["page_content"] == TEXT
            client.close()
    assert (road.returned > len(TEXT)) == by_docrag
    assert (road.returned < len(TEXT) / 10) != by_docrag


def answering(*results: Any) -> tuple[ServerStore, list[float]]:
    """A store of a server that gives these results, one a request, and the waits between tries."""
    left, waits = list(results), []

    def handle(request: httpx.Request) -> httpx.Response:
        result = left.pop(0)
        if isinstance(result, int):
            return httpx.Response(result, json={"status": {"error": "scripted"}})
        return httpx.Response(200, json={"status": "ok", "time": 0.0, "result": result})

    address = Address.parse("http://localhost/reports")
    transport = httpx.MockTransport(handle)
    client = QdrantClient(url="http://localhost", check_compatibility=False, transport=transport)
    connection = Connection(address, client, JsonWire(client), sleep=waits.append)
    return ServerStore(connection, "reports", Layout.for_dims(late=2, image=None, text=2)), waits


ID = "6f3c1c0e-53a8-5d0b-9d0c-6c2f1c3a5e11"
RAGGED = [{"id": ID, "payload": {}, "vector": {"patches": [[0.5, 0.25], [0.5]]}}]
READS: dict[str, Callable[[ServerStore], Any]] = {
    "retrieve": lambda store: store.retrieve([ID], vectors=["patches"]),
    "query": lambda store: store.query([QueryRequest(np.ones(2, np.float32), "caption", 1)]),
    "scroll": lambda store: list(store.scroll()),
}


def test_rows_of_different_lengths_are_an_error():
    store, _ = answering(RAGGED)
    with store, pytest.raises(StoreError, match="cannot be read") as caught:
        store.retrieve([ID], vectors=["patches"])
    assert caught.value.hint


@pytest.mark.parametrize("read", READS)
def test_an_answer_in_another_form_is_not_taken_for_pages(read: str):
    store, waits = answering({"pages": 3})
    with store, pytest.raises((ServerRefused, ServerUnreachable)):
        READS[read](store)
    assert waits == []


@pytest.mark.parametrize("read", READS)
def test_a_read_is_tried_again_and_a_refusal_is_not(read: str):
    empty = {"retrieve": [], "query": [{"points": []}], "scroll": {"points": [], "next_page_offset": None}}
    store, waits = answering(503, empty[read])
    with store:
        assert READS[read](store) in ([], [[]])
    assert len(waits) == 1
    store, waits = answering(403)
    with store, pytest.raises(ServerRefused):
        READS[read](store)
    assert waits == []


def test_a_read_whose_answer_is_cut_is_repeated(layout: Layout, records: list[PageRecord]):
    with FakeQdrant() as fake:
        waits: list[float] = []
        connection = connect(Address.parse(fake.uri), sleep=waits.append)
        with ServerStore.create(connection, layout, FINGERPRINT) as store:
            store.upsert(records[:1])
            fake.faults.append(Fault(cut="middle"))
            assert len(store.retrieve([records[0].id], vectors=["patches"])) == 1
    assert len(waits) == 1
