"""By gRPC the keys of a payload lose their order, which a second write by REST restores."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest

from docrag.store.layout import Layout
from docrag.store.requests import PayloadFilter
from docrag.store.server.address import Address
from docrag.store.server.connection import TRIES, connect
from docrag.store.server.shared import SharedStore
from docrag.store.server.store import ServerStore
from docrag.types import PageRecord
from tests.store.engines import FINGERPRINT
from tests.store.fake_grpc import FakeGrpc
from tests.store.fake_qdrant import FakeQdrant, Fault

BATCH = r"/collections/[^/]+/points/batch"
ORDER = ["image_url", "page_of", "metadata", "page_content", "held_by", "layout"]
METADATA_ORDER = [
    "file_name",
    "page_number",
    "title",
    "words_from",
    "page",
    "total_pages",
    "source",
    "sources",
    "document_id",
    "a_field_of_the_user",
]


@pytest.fixture
def fake() -> Iterator[FakeQdrant]:
    with FakeQdrant() as fake:
        yield fake


@pytest.fixture
def service(fake: FakeQdrant) -> Iterator[FakeGrpc]:
    with FakeGrpc(fake.db) as service:
        yield service


@pytest.fixture
def store(fake: FakeQdrant, service: FakeGrpc, layout: Layout) -> Iterator[SharedStore]:
    connection = connect(Address.parse(fake.uri), grpc_port=service.port, sleep=lambda seconds: None)
    with ServerStore.create(connection, layout, FINGERPRINT) as made:
        yield SharedStore.of(made, "machine-1")


@pytest.fixture
def pages(record: Callable[[int], PageRecord]) -> list[PageRecord]:
    return [page(record(number)) for number in range(12)]


def page(record: PageRecord) -> PageRecord:
    metadata = {"a_field_of_the_user": "x", **record.payload["metadata"]}
    return replace(record, payload={**record.payload, "metadata": metadata})


def stored(fake: FakeQdrant) -> list[dict[str, Any]]:
    points, _ = fake.db.scroll("reports--1", limit=1000, with_payload=True)
    return [point.payload or {} for point in points]


def batches(fake: FakeQdrant) -> list[dict[str, Any]]:
    return [json.loads(sent.body) for sent in fake.requests if sent.path.endswith("/points/batch")]


def test_keys_are_stored_in_order_although_grpc_shuffles_them(
    fake: FakeQdrant, service: FakeGrpc, store: SharedStore, pages: list[PageRecord]
):
    store.upsert(pages)
    assert len(service.upserts) == 1
    assert [list(payload) for payload in stored(fake)] == [ORDER] * len(pages)
    assert [list(payload["metadata"]) for payload in stored(fake)] == [METADATA_ORDER] * len(pages)
    values = {payload["page_content"]: payload for payload in stored(fake)}
    for record in pages:
        assert values[record.payload["page_content"]] == {**record.payload, "held_by": ["machine-1"]}


def test_new_names_and_addresses_leave_the_order(
    fake: FakeQdrant, store: SharedStore, pages: list[PageRecord]
):
    store.upsert(pages)
    names = {"source": "/b.pdf", "sources": ["/b.pdf"], "file_name": "b.pdf"}
    store.set_payload(names, PayloadFilter(), key="metadata")
    store.set_payload({"image_url": "http://other/1.jpg"}, PayloadFilter())
    assert [list(payload) for payload in stored(fake)] == [ORDER] * len(pages)
    assert [list(payload["metadata"]) for payload in stored(fake)] == [METADATA_ORDER] * len(pages)
    assert {payload["metadata"]["file_name"] for payload in stored(fake)} == {"b.pdf"}


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"held_by": ["machine-1", "machine-2"]}, None),
        ({"sources": ["/docs/0.pdf", "/elsewhere.pdf"]}, "metadata"),
    ],
)
def test_what_another_machine_wrote_in_between_stays(
    fake: FakeQdrant,
    store: SharedStore,
    pages: list[PageRecord],
    monkeypatch: pytest.MonkeyPatch,
    values: dict[str, Any],
    key: str | None,
):
    changed = pages[0].id
    send = store.connection.wire.send

    def send_and_be_overtaken(collection: str, batch: Any, *others: Any) -> Any:
        status = send(collection, batch, *others)
        fake.db.set_payload("reports--1", values, [changed], key)
        return status

    monkeypatch.setattr(store.connection.wire, "send", send_and_be_overtaken)
    store.upsert(pages)
    (overtaken,) = fake.db.retrieve("reports--1", [changed])
    payload = overtaken.payload or {}
    assert (payload["metadata"] if key else payload).items() >= values.items()
    others = [
        payload for payload in stored(fake) if payload["page_content"] != pages[0].payload["page_content"]
    ]
    assert [list(payload) for payload in others] == [ORDER] * 11


def test_by_rest_nothing_is_written_twice(fake: FakeQdrant, layout: Layout, pages: list[PageRecord]):
    with ServerStore.create(connect(Address.parse(fake.uri)), layout, FINGERPRINT) as made:
        SharedStore.of(made, "machine-1").upsert(pages)
    assert batches(fake) == []
    assert [list(payload) for payload in stored(fake)] == [ORDER] * len(pages)


def test_a_busy_server_is_asked_again(fake: FakeQdrant, store: SharedStore, pages: list[PageRecord]):
    fake.faulty, fake.faults = BATCH, [Fault(503), Fault(cut="after")]
    store.upsert(pages)
    assert len(batches(fake)) == 3
    assert [list(payload) for payload in stored(fake)] == [ORDER] * len(pages)


def test_a_body_that_a_proxy_finds_too_large_is_split(
    fake: FakeQdrant, store: SharedStore, pages: list[PageRecord]
):
    fake.most_bytes = 4000
    store.upsert(pages)
    sizes = [len(body["operations"]) for body in batches(fake)]
    assert sizes[0] == len(pages)
    assert [list(payload) for payload in stored(fake)] == [ORDER] * len(pages)
    store.upsert(pages)  # and is sent in parts from then on
    assert len(pages) not in [len(body["operations"]) for body in batches(fake)[len(sizes) :]]


def test_pages_are_stored_where_rest_refuses_to_order_them(
    fake: FakeQdrant, store: SharedStore, pages: list[PageRecord], caplog: pytest.LogCaptureFixture
):
    fake.faulty, fake.faults = BATCH, [Fault(403)]
    with caplog.at_level(logging.WARNING):
        store.upsert(pages[:6])
        store.upsert(pages[6:])
    assert len([entry for entry in caplog.records if "have no order" in entry.message]) == 1
    assert len(batches(fake)) == 1
    assert store.count() == len(pages)


def test_pages_are_stored_where_rest_has_gone(
    fake: FakeQdrant, store: SharedStore, pages: list[PageRecord], caplog: pytest.LogCaptureFixture
):
    fake.faulty, fake.faults = BATCH, [Fault(503)] * TRIES
    with caplog.at_level(logging.WARNING):
        store.upsert(pages[:6])
    assert "the payload keys of 6 pages have no order" in caplog.text
    store.upsert(pages[6:])
    assert store.count() == len(pages)
    assert sum(list(payload) == ORDER for payload in stored(fake)) >= 6


def test_a_write_by_grpc_that_is_refused_is_not_ordered(
    fake: FakeQdrant, service: FakeGrpc, store: SharedStore, pages: list[PageRecord]
):
    service.faults = [grpc.StatusCode.PERMISSION_DENIED]
    with pytest.raises(Exception, match="scripted"):
        store.upsert(pages)
    assert batches(fake) == []


def test_a_page_that_rest_refuses_costs_only_its_own_order(
    fake: FakeQdrant, store: SharedStore, pages: list[PageRecord], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING)
    fake.faulty, fake.faults = BATCH, [Fault(400), Fault(400), Fault(400)]  # 12 pages, 6 and 3 of them
    store.upsert(pages)
    assert store.count() == len(pages)
    fake.faults = [Fault(400)]
    store.upsert(pages[:1])
    assert [record.message for record in caplog.records if "the payload keys of page 1" in record.message]
    store.upsert(pages[1:])
    assert all(list(payload) == ORDER for payload in stored(fake)[1:])


@pytest.mark.parametrize("sources", [3, None, "one.pdf", [{"name": "one.pdf"}], ["one.pdf", "two.pdf"]])
def test_texts_keep_the_metadata_of_their_user(fake: FakeQdrant, service: FakeGrpc, sources: object):
    """A vector store of texts: what docrag writes into the metadata of pages is a user's own there."""
    layout = Layout.for_texts(2)
    connection = connect(Address.parse(fake.uri), grpc_port=service.port, sleep=lambda seconds: None)
    metadata = {"sources": sources, "source": "mine", "file_name": 7}
    text = PageRecord(
        "6f3c1c0e-53a8-5d0b-9d0c-6c2f1c3a5e11",
        {"caption": np.array([0.6, 0.8], np.float32)},
        {"page_content": "a text", "metadata": metadata},
    )
    with ServerStore.create(connection, layout, FINGERPRINT) as made:
        for machine in ("machine-1", "machine-2"):
            SharedStore.of(made, machine).upsert([text])
        [found] = made.scroll()
    assert found.payload["metadata"] == metadata
    assert found.payload["held_by"] == ["machine-1", "machine-2"]
    assert not [sent for sent in fake.requests if sent.path.endswith("/points/batch")]
