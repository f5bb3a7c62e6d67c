"""What is kept of records that were read: never more than may be, never older than the store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import models

from docrag.errors import StoreError
from docrag.store.layout import Layout
from docrag.store.local.cache import ReadKey, RecordCache
from docrag.store.local.store import EdgeStore
from docrag.types import PATCHES, PageRecord
from tests.threads import at_once

Make = Callable[[int], PageRecord]
ALL = ReadKey((PATCHES,), None)
PAGE = models.FieldCondition(key="metadata.page", match=models.MatchValue(value=3))


@pytest.fixture
def store(tmp_path: Path, layout: Layout, records: list[PageRecord]) -> Iterator[EdgeStore]:
    with EdgeStore.create(tmp_path / "shard", layout) as store:
        store.upsert(records)
        yield store


def named(record: PageRecord, text: str) -> PageRecord:
    return replace(record, payload={**record.payload, "page_content": text})


def test_the_oldest_make_room(records: list[PageRecord]):
    measuring = RecordCache()
    measuring.keep(ALL, records[:1], measuring.moment)
    recent = RecordCache(most=5 * measuring.size)
    for record in records:
        recent.find(ALL, [records[0].id])
        recent.keep(ALL, [record], recent.moment)
        assert recent.size <= 5 * measuring.size
    kept = recent.find(ALL, [record.id for record in records])
    assert records[0].id in kept, "it was asked for all the time"
    assert records[-1].id in kept
    assert 3 <= len(kept) <= 6
    recent.forget()
    assert recent.size == 0


def test_more_than_all_room_is_not_kept(records: list[PageRecord]):
    recent = RecordCache(most=100)
    recent.keep(ALL, records, recent.moment)
    assert (recent.size, recent.find(ALL, [records[0].id])) == (0, {})


def test_what_was_read_before_a_write_is_not_kept(records: list[PageRecord]):
    recent = RecordCache()
    moment = recent.moment
    recent.forget([records[1].id])
    recent.keep(ALL, records[:2], moment)
    assert recent.find(ALL, [records[0].id, records[1].id]) == {}


def test_what_callers_do_to_records_changes_nothing(store: EdgeStore, record: Make):
    asked = {"ids": [record(3).id], "vectors": [PATCHES]}
    for _ in range(3):
        [found] = store.retrieve(**asked)
        assert found.payload["metadata"] == record(3).payload["metadata"]
        np.testing.assert_allclose(found.vectors[PATCHES], record(3).vectors[PATCHES], atol=5e-4)
        found.payload["metadata"].clear()
        found.vectors[PATCHES][:] = 0


@pytest.mark.parametrize("datatype", ["float16", "float32", "turbo8"])
def test_records_are_the_same_to_the_last_bit(tmp_path: Path, record: Make, datatype: str):
    layout = Layout.for_dims(late=16, image=12, text=8, datatype=datatype)
    asked = {"ids": [record(3).id], "vectors": sorted(layout.names)}
    with EdgeStore.create(tmp_path / "shard", layout) as store:
        store.upsert([record(3)])
        [first], [again] = store.retrieve(**asked), store.retrieve(**asked)
    assert again.payload == first.payload
    assert again.vectors["bm25"] == first.vectors["bm25"]
    for name in layout.names - {"bm25"}:
        assert again.vectors[name].dtype == np.float32
        np.testing.assert_array_equal(again.vectors[name], first.vectors[name])


def test_every_write_is_seen_at_once(store: EdgeStore, record: Make):
    page = record(3)

    def read() -> list[str]:
        for part in ({"payload": ["page_content"]}, {}):  # two parts of it, each kept by itself
            found = [one.payload["page_content"] for one in store.retrieve([page.id], **part)]
        return found

    assert read() == ["text of page 3"]
    store.upsert([named(page, "new")])
    assert read() == ["new"]
    store.set_payload({"page_content": "set"}, models.Filter(must=[PAGE]))
    assert read() == ["set"]
    store.delete(models.Filter(must=[PAGE]))
    assert read() == []
    store.upsert([page])
    assert read() == ["text of page 3"]
    store.close()
    with pytest.raises(StoreError, match="closed"):
        read()


def test_threads_never_read_what_was_replaced_before_they_asked(store: EdgeStore, record: Make):
    """One writes number after number: what the others read is no older than what they knew to be written."""
    page, written, done = record(3), [0], threading.Event()
    store.upsert([named(page, "0")])

    def work(thread: int) -> int:
        if thread == 0:
            for number in range(1, 60):
                store.upsert([named(page, str(number))])
                written[0] = number
            done.set()
            return 60
        rounds = 0
        while not done.is_set():
            before = written[0]
            [found] = store.retrieve([page.id], vectors=[PATCHES])
            assert int(found.payload["page_content"]) >= before
            rounds += 1
        return rounds

    assert min(at_once(5, work)) > 0
