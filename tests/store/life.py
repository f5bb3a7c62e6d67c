"""All that the store of a server sends: an index is made, filled, searched, changed, migrated and dropped."""

from __future__ import annotations

import numpy as np

from docrag.search.query import plan_queries
from docrag.search.stages import Stages
from docrag.store.layout import KEYWORDS, Fingerprint, Layout
from docrag.store.requests import FieldMatch, PayloadFilter, QueryRequest
from docrag.store.server import alias
from docrag.store.server.address import Address
from docrag.store.server.connection import connect
from docrag.store.server.key_order import KeyOrder
from docrag.store.server.schema import HELD_BY, CollectionOptions
from docrag.store.server.store import ServerStore
from docrag.types import MODES, Datatype, PageRecord, SparseVector
from tests.store.fake_qdrant import FakeQdrant, Sent

PAGE = PayloadFilter(must=(FieldMatch("metadata.page", (2,)),))
NEWEST = ("1.20.0", "turbo8")
"""A server with all that docrag makes use of, and its smallest datatype that loses nothing."""


def small_record() -> PageRecord:
    vectors = {
        "patches": np.eye(2, 3, dtype=np.float32),
        "pooled": np.eye(1, 3, dtype=np.float32),
        "image": np.array([0.6, 0.8], np.float32),
        "caption": np.array([0.28, 0.96], np.float32),
        "bm25": SparseVector((3, 4294967295), (1.5, 0.25)),
    }
    payload = {"page_content": "Straße", "metadata": {"page": 2, "sources": ["/a.pdf"], "title": ""}}
    return PageRecord("6f3c1c0e-53a8-5d0b-9d0c-6c2f1c3a5e11", vectors, payload)


def requests_of_a_life(version: str, datatype: Datatype) -> list[Sent]:
    """What a server of a version is sent."""
    FakeQdrant.indexed = frozenset((*KEYWORDS, HELD_BY))
    layout = Layout.for_dims(late=3, image=2, text=2, datatype=datatype)
    with FakeQdrant(version=version) as fake:
        connection = connect(Address.parse(fake.uri))
        options = CollectionOptions("metadata.customer", 2, 2, 1)
        with ServerStore.create(connection, layout, Fingerprint({"layout": 1}), options) as store:
            store.upsert([small_record()])
            # What a store that is connected by gRPC sends by REST.
            KeyOrder(connection.client, store._write).restore("reports", [small_record()])
            search(store)
            read(store)
            change(store)
            new = ServerStore.staging(connection, layout, Fingerprint({"layout": 2}))
            alias.switch_alias(connection, "reports", new.collection)
            alias.drop_collection(connection, "reports--1")
    return fake.requests


def search(store: ServerStore) -> None:
    """In all modes, with and without filters, and exactly, as `docrag tune` does."""
    record = small_record()
    vectors = record.vectors | {"patches": np.eye(9, 3, dtype=np.float32)}
    for mode in MODES:
        for filter in (None, {"page": "3", "file_name": "7", "source": "/a.pdf"}):
            store.query(list(plan_queries(mode, vectors, filter, 5, Stages(sieve=200)).values()))
    pooled = record.vectors["pooled"]
    store.query([QueryRequest(pooled, "pooled", 30, exact=True, ignore_quantization=True)])


def read(store: ServerStore) -> None:
    id = small_record().id
    store.retrieve([id], vectors=["patches", "bm25"], payload=["metadata.page"])
    store.retrieve([id], payload=[])
    list(store.scroll(PAGE, payload=["metadata"]))
    list(store.scroll())
    store.count(PAGE)
    store.count()
    store.facet("metadata.source")
    store.health()


def change(store: ServerStore) -> None:
    store.set_payload({"source": "/b.pdf"}, PAGE, key="metadata")
    store.set_payload({"image_url": "http://localhost/1.jpg"}, PAGE)
    store.set_payloads({small_record().id: {"image_url": "http://localhost/2.jpg"}})
    store.delete(PAGE)
    store.set_fingerprint(Fingerprint({"layout": 1, "text": {}}))
