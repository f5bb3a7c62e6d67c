"""Making, opening, replacing and dropping collections; refusals; the requests of an ingest."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from docrag.errors import (
    IndexMismatch,
    IndexNotFound,
    InvalidRecord,
    ServerRefused,
    SettingsError,
    StoreError,
)
from docrag.store.layout import INTEGERS, KEYWORDS, TEXTS, Fingerprint, Layout
from docrag.store.payload import HELD_BY
from docrag.store.requests import FieldMatch, PayloadFilter
from docrag.store.server import alias
from docrag.store.server.address import Address
from docrag.store.server.connection import Connection, connect
from docrag.store.server.schema import (
    CollectionOptions,
    collection_settings,
    payload_indexes,
    require_tenant,
)
from docrag.store.server.store import ServerStore, stored_fingerprint
from docrag.types import MAX_FLOATS, PageRecord
from tests.store.fake_qdrant import FakeQdrant

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no")

FINGERPRINT = Fingerprint({"layout": 1, "late": None, "text": {"family": "minilm", "weight": 1.0}})
OTHER = Fingerprint({"layout": 1, "late": {"family": "colpali"}, "text": {"family": "minilm"}})
PAGE_2 = PayloadFilter(must=(FieldMatch("metadata.page", (2,)),))


@pytest.fixture
def fake() -> Iterator[FakeQdrant]:
    with FakeQdrant() as server:
        yield server


@pytest.fixture
def connection(fake: FakeQdrant) -> Iterator[Connection]:
    opened = connect(Address.parse(fake.uri))
    yield opened
    opened.close()


@pytest.fixture
def store(connection: Connection, layout: Layout) -> ServerStore:
    return ServerStore.create(connection, layout, FINGERPRINT)


def test_the_collection_is_that_of_the_design(fake: FakeQdrant, store: ServerStore):
    made = next(sent for sent in fake.requests if sent.method == "PUT")
    assert made.path == "/collections/reports--1"
    late = {
        "size": 16,
        "distance": "Dot",
        "datatype": "float16",
        "hnsw_config": {"m": 0},
        "multivector_config": {"comparator": "max_sim"},
    }
    assert json.loads(made.body) == {
        "vectors": {
            "patches": late | {"memory": "cold"},
            "pooled": late,
            "image": {"size": 12, "distance": "Cosine"},
            "caption": {"size": 8, "distance": "Cosine"},
        },
        "sparse_vectors": {"bm25": {"modifier": "idf"}},
        "shard_number": 1,
        "metadata": {
            "docrag": {
                "fingerprint": {"layout": 1, "text": {"family": "minilm", "weight": 1.0}},
                "fingerprint_nulls": ["late"],
            }
        },
    }
    bodies = [json.loads(sent.body) for sent in fake.requests if sent.path.endswith("/index")]
    indexed = {body["field_name"]: body["field_schema"] for body in bodies}
    assert indexed == {
        **dict.fromkeys((*KEYWORDS, HELD_BY), "keyword"),
        **dict.fromkeys(INTEGERS, "integer"),
        "page_content": {"type": "text", "tokenizer": "word", "lowercase": True},
    }


def test_an_older_server_is_asked_for_nothing_that_it_lacks(layout: Layout):
    settings = collection_settings(layout, FINGERPRINT, CollectionOptions(), (1, 18))
    assert settings["vectors_config"]["patches"].on_disk is True
    assert settings["vectors_config"]["patches"].memory is None
    assert settings["vectors_config"]["pooled"].on_disk is None


@pytest.mark.parametrize(("datatype", "since"), [("turbo4", (1, 19)), ("turbo8", (1, 20))])
def test_a_datatype_needs_its_version(datatype: str, since: tuple[int, int]):
    layout = Layout.for_dims(late=16, image=None, text=8, datatype=datatype)
    settings = collection_settings(layout, FINGERPRINT, CollectionOptions(), since)
    assert settings["vectors_config"]["patches"].datatype == datatype
    assert settings["vectors_config"]["pooled"].datatype == "float16"
    with pytest.raises(ServerRefused, match=f"{datatype} needs Qdrant 1.{since[1]}, the server is 1.18"):
        collection_settings(layout, FINGERPRINT, CollectionOptions(), (1, 18))


def test_a_cluster_and_a_tenant_are_asked_for(fake: FakeQdrant, connection: Connection, layout: Layout):
    options = CollectionOptions("metadata.customer", 3, 2, 1)
    ServerStore.create(connection, layout, FINGERPRINT, options)
    made = json.loads(next(sent for sent in fake.requests if sent.method == "PUT").body)
    assert (made["shard_number"], made["replication_factor"], made["write_consistency_factor"]) == (3, 2, 1)
    assert made["hnsw_config"] == {"m": 0, "payload_m": 16}
    indexes = [json.loads(sent.body) for sent in fake.requests if sent.path.endswith("/index")]
    tenant = {"type": "keyword", "is_tenant": True}
    assert {"field_name": "metadata.customer", "field_schema": tenant} in indexes


def test_a_tenant_that_is_indexed_anyway_is_indexed_once():
    keys = [key for key, _ in payload_indexes(CollectionOptions(tenant="metadata.source"))]
    assert len(keys) == len(set(keys)) == len([*KEYWORDS, *INTEGERS]) + 2


def test_a_tenant_is_a_field_of_text_that_pages_have():
    for key in (*(key for key in KEYWORDS if key != "metadata.source"), ""):
        require_tenant(key, FINGERPRINT)
    require_tenant("metadata.customer", Fingerprint({"layout": TEXTS}))
    with pytest.raises(SettingsError, match=r"no filter uses metadata\.source") as caught:
        require_tenant("metadata.source", FINGERPRINT)
    assert "metadata.sources" in caught.value.hint
    for key in (*INTEGERS, "metadata.width"):
        with pytest.raises(SettingsError, match=f"{key} is a number and cannot be the tenant"):
            require_tenant(key, FINGERPRINT)
    with pytest.raises(SettingsError, match=r"no page has a field metadata\.customer") as caught:
        require_tenant("metadata.customer", FINGERPRINT)
    assert "metadata.file_name" in caught.value.hint


def test_the_fingerprint_stands_with_the_collection(connection: Connection, layout: Layout):
    assert stored_fingerprint(connection) is None
    store = ServerStore.create(connection, layout, FINGERPRINT)
    assert stored_fingerprint(connection) == store.fingerprint() == FINGERPRINT
    store.set_fingerprint(OTHER)
    assert stored_fingerprint(connection) == ServerStore.open(connection, layout).fingerprint() == OTHER


def test_there_must_be_an_index_to_open(connection: Connection, layout: Layout):
    with pytest.raises(IndexNotFound, match=r"http://127.*/reports"):
        ServerStore.open(connection, layout)


def test_what_is_there_is_opened_and_not_made_again(
    fake: FakeQdrant, connection: Connection, layout: Layout, store: ServerStore, records: list[PageRecord]
):
    store.upsert(records)
    sent = len(fake.requests)
    assert ServerStore.create(connection, layout, FINGERPRINT).count() == len(records)
    with pytest.raises(IndexMismatch, match="was built with no late encoder, asked for colpali"):
        ServerStore.create(connection, layout, OTHER)
    assert not [one for one in fake.requests[sent:] if one.method == "PUT"]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (Layout.for_dims(late=16, image=12, text=9), "as caption it has dense 8, asked for dense 9"),
        (Layout.for_dims(late=16, image=None, text=8), "as image it has dense 12, asked for none"),
        (Layout.for_dims(late=32, image=12, text=8), "as patches it has multi 16, asked for multi 32"),
    ],
)
def test_other_vectors_are_a_mismatch(connection: Connection, store: ServerStore, other: Layout, reason: str):
    with pytest.raises(IndexMismatch, match=reason):
        ServerStore.open(connection, other)


@pytest.mark.parametrize("metadata", [None, {"owner": "me"}, {"docrag": "text"}])
def test_a_collection_of_somebody_else_is_left_alone(
    fake: FakeQdrant, connection: Connection, layout: Layout, metadata: dict | None
):
    vectors = models.VectorParams(size=3, distance=models.Distance.COSINE)
    fake.db.create_collection("reports", vectors, metadata=metadata)
    calls = (
        lambda: stored_fingerprint(connection),
        lambda: ServerStore.open(connection, layout),
        lambda: alias.drop_collection(connection, "reports"),
        lambda: ServerStore.create(connection, layout, FINGERPRINT),
    )
    for call in calls:
        with pytest.raises(StoreError, match=r"/reports was not made by docrag") as caught:
            call()
        assert "another collection" in caught.value.hint
    assert not [sent for sent in fake.requests if sent.method not in ("GET",)]


def test_an_index_that_was_half_made_is_made_whole(fake: FakeQdrant, connection: Connection, layout: Layout):
    alias.make_staging(connection, layout, FINGERPRINT)  # and killed before the alias
    made = len(fake.requests)
    store = ServerStore.create(connection, layout, FINGERPRINT)
    assert alias.collection_behind(connection, "reports") == "reports--1"
    assert not [sent for sent in fake.requests[made:] if sent.path == "/collections/reports--2"]
    assert store.count() == 0


def test_a_migration_switches_at_once(connection: Connection, layout: Layout, records: list[PageRecord]):
    old = ServerStore.create(connection, layout, FINGERPRINT)
    old.upsert(records)
    wider = Layout.for_dims(late=16, image=12, text=8)
    new = ServerStore.staging(connection, wider, OTHER)
    new.upsert(records[:20])
    assert (old.count(), new.count(), new.collection) == (30, 20, "reports--2")
    again = ServerStore.staging(connection, wider, OTHER)  # after a crash it goes on with the same one
    assert again.collection == new.collection
    before = alias.collection_behind(connection, "reports")
    alias.switch_alias(connection, "reports", new.collection)
    assert (ServerStore.open(connection, wider).count(), stored_fingerprint(connection)) == (20, OTHER)
    with pytest.raises(StoreError, match="reports points to"):
        alias.drop_collection(connection, new.collection)
    alias.drop_collection(connection, str(before))
    alias.drop_collection(connection, str(before))
    assert connection.info("reports--1") is None
    assert ServerStore.staging(connection, layout, FINGERPRINT).collection == "reports--3"


def test_the_switch_is_one_request(
    fake: FakeQdrant, connection: Connection, store: ServerStore, layout: Layout
):
    new = ServerStore.staging(connection, layout, OTHER)
    alias.switch_alias(connection, "reports", new.collection)
    switch = [sent for sent in fake.requests if sent.path == "/collections/aliases"][-1]
    assert json.loads(switch.body)["actions"] == [
        {"delete_alias": {"alias_name": "reports"}},
        {"create_alias": {"collection_name": "reports--2", "alias_name": "reports"}},
    ]


def test_an_alias_needs_a_collection_and_a_name_of_its_own(
    fake: FakeQdrant, connection: Connection, store: ServerStore
):
    with pytest.raises(StoreError, match=r"no collection .*/reports--9"):
        alias.switch_alias(connection, "reports", "reports--9")
    with pytest.raises(StoreError, match="is a collection, not an alias"):
        alias.switch_alias(connection, "reports--1", "reports--1")
    assert alias.collection_behind(connection, "nothing") is None
    assert alias.collection_behind(connection, "reports--1") == "reports--1"


def test_foreign_collections_with_such_names_are_passed_by(
    fake: FakeQdrant, connection: Connection, layout: Layout
):
    vectors = models.VectorParams(size=3, distance=models.Distance.COSINE)
    for name in ("reports--7", "reports--x", "other--9"):
        fake.db.create_collection(name, vectors)
    assert ServerStore.staging(connection, layout, FINGERPRINT).collection == "reports--8"


def test_requests_are_cut_by_bytes(
    fake: FakeQdrant, store: ServerStore, records: list[PageRecord], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store._uploader, "max_bytes", 10_000)
    store.upsert(records)
    sizes = [len(sent.body) for sent in fake.requests if sent.path.endswith("/points")]
    assert len(sizes) > 3
    assert max(sizes) <= 10_000 + len(b'{"points":[]}')
    assert min(sizes[:-1]) > 5_000
    assert store.count() == 30


def test_a_page_of_too_many_floats_is_refused_before_anything_is_sent(
    fake: FakeQdrant, store: ServerStore, records: list[PageRecord]
):
    rows = np.tile(np.eye(1, 16, dtype=np.float32), (MAX_FLOATS // 16, 1))
    large = dataclasses.replace(records[3], vectors={**records[3].vectors, "patches": rows})
    before = len(fake.requests)
    with pytest.raises(InvalidRecord, match=r"page 4 of /docs/0.pdf: patches has 1048576 floats"):
        store.upsert([records[0], large])
    assert len(fake.requests) == before


def test_a_field_without_index_has_no_facets(store: ServerStore):
    with pytest.raises(ServerRefused, match="No appropriate index") as caught:
        store.facet("metadata.caption")
    assert caught.value.status == 400


def test_writes_wait_until_they_are_applied(fake: FakeQdrant, store: ServerStore, records: list[PageRecord]):
    store.upsert(records)
    store.set_payload({"source": "x"}, PAGE_2, key="metadata")
    store.delete(PAGE_2)
    writes = [
        sent for sent in fake.requests if sent.path.endswith(("/points", "/payload", "/delete", "/index"))
    ]
    assert len(writes) == 3 + len(list(payload_indexes(CollectionOptions())))
    assert {sent.query["wait"] for sent in writes} == {"true"}


def test_a_write_that_is_not_applied_is_no_success(
    store: ServerStore, records: list[PageRecord], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        QdrantClient, "delete", lambda *_, **__: models.UpdateResult(operation_id=1, status="acknowledged")
    )
    with pytest.raises(StoreError, match="not applied"):
        store.delete(PAGE_2)


def test_a_collection_that_is_dropped_meanwhile_is_an_error(
    fake: FakeQdrant, store: ServerStore, records: list[PageRecord]
):
    fake.db.delete_collection("reports--1")
    assert store.fingerprint() is None
    with pytest.raises(ServerRefused, match="404"):
        store.upsert(records)
