"""Collections of an older docrag get the payload indexes that it did not make."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from docrag.store.layout import KEYWORDS, Layout
from docrag.store.server.address import Address
from docrag.store.server.connection import connect
from docrag.store.server.schema import DEFAULTS, payload_indexes
from docrag.store.server.shared import SharedStore
from docrag.store.server.store import ServerStore
from docrag.types import PageRecord
from tests.store.engines import FINGERPRINT
from tests.store.fake_qdrant import FakeQdrant, Fault

OLDER = ("metadata.document_id", "metadata.source", "metadata.sources", "metadata.file_name", "held_by")


@pytest.fixture
def fake() -> Iterator[FakeQdrant]:
    with FakeQdrant() as fake:
        yield fake


@pytest.fixture
def older(fake: FakeQdrant, layout: Layout, records: list[PageRecord]) -> Iterator[ServerStore]:
    """A collection with pages and the indexes of an older docrag."""
    with ServerStore.create(connect(Address.parse(fake.uri)), layout, FINGERPRINT) as made:
        made.upsert(records)
        fake.payload_schema = {
            **{key: {"data_type": "keyword", "points": 30} for key in OLDER},
            "metadata.page": {"data_type": "integer", "points": 30},
        }
        fake.requests.clear()
        yield made


def indexed(fake: FakeQdrant) -> list[str]:
    return [json.loads(sent.body)["field_name"] for sent in fake.requests if sent.path.endswith("/index")]


def test_what_is_missing_is_made_once(fake: FakeQdrant, older: ServerStore, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        older.add_missing_indexes()
    missing = [key for key, _ in payload_indexes(DEFAULTS) if key not in (*OLDER, "metadata.page")]
    assert sorted(indexed(fake)) == sorted(missing)
    assert "metadata.words_from" in missing
    assert "page_content" in missing
    assert f"made payload indexes in reports for {', '.join(missing)} in 0." in caplog.text
    older.add_missing_indexes()
    assert len(indexed(fake)) == len(missing)


def test_reading_makes_none(fake: FakeQdrant, older: ServerStore):
    with ServerStore.open(connect(Address.parse(fake.uri)), older.layout) as opened:
        store = SharedStore.of(opened, "machine-1")
        assert store.count() == 30
        assert len(list(store.scroll())) == 30
    assert indexed(fake) == []


def test_a_server_that_refuses_them_keeps_the_collection_as_it_is(
    fake: FakeQdrant, older: ServerStore, records: list[PageRecord], caplog: pytest.LogCaptureFixture
):
    fake.faulty, fake.faults = r"/collections/[^/]+/index", [Fault(403)]
    older.add_missing_indexes()
    assert "reports stays without some payload indexes" in caplog.text
    older.upsert(records)
    assert older.count() == 30


def test_a_new_collection_has_all_of_them(fake: FakeQdrant, layout: Layout):
    fake.payload_schema = {}
    with ServerStore.create(connect(Address.parse(fake.uri)), layout, FINGERPRINT) as made:
        made.add_missing_indexes()
    keys = [key for key, _ in payload_indexes(DEFAULTS)]
    assert sorted(indexed(fake)) == sorted(keys)
    assert {*KEYWORDS} < {*keys}
