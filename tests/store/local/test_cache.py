"""The cache of records: never larger than its limit, never older than the store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from docrag.errors import StoreError
from docrag.store.layout import Layout
from docrag.store.local.cache import ReadKey, RecordCache
from docrag.store.local.store import EdgeStore
from docrag.store.requests import FieldMatch, PayloadFilter
from docrag.types import PATCHES, PageRecord
from tests.threads import at_once

Make = Callable[[int], PageRecord]
ALL = ReadKey((PATCHES,), None)
PAGE = PayloadFilter(must=(FieldMatch("metadata.page", (3,)),))


@pytest.fixture
def store(tmp_path: Path, layout: Layout, records: list[PageRecord]) -> Iterator[EdgeStore]:
    with EdgeStore.create(tmp_path / "shard", layout) as store:
        store.upsert(records)
        yield store


def named(record: PageRecord, text: str) -> PageRecord:
    return replace(record, payload={**record.payload, "page_content": text})


def test_the_least_recently_used_records_are_dropped(records: list[PageRecord]):
    one_record = RecordCache()
    one_record.add(ALL, records[:1], one_record.generation)
    cache = RecordCache(max_bytes=5 * one_record.size)
    for record in records:
        cache.find(ALL, [records[0].id])
        cache.add(ALL, [record], cache.generation)
        assert cache.size <= 5 * one_record.size
    cached = cache.find(ALL, [record.id for record in records])
    assert records[0].id in cached, "it was read all the time"
    assert records[-1].id in cached
    assert 3 <= len(cached) <= 6
    cache.forget()
    assert cache.size == 0


def test_records_larger_than_the_cache_are_not_cached(records: list[PageRecord]):
    cache = RecordCache(max_bytes=100)
    cache.add(ALL, records, cache.generation)
    assert (cache.size, cache.find(ALL, [records[0].id])) == (0, {})


def test_what_was_read_before_a_write_is_not_cached(records: list[PageRecord]):
    cache = RecordCache()
    generation = cache.generation
    cache.forget([records[1].id])
    cache.add(ALL, records[:2], generation)
    assert cache.find(ALL, [records[0].id, records[1].id]) == {}


def test_hits_and_added_records_are_counted(records: list[PageRecord]):
    cache = RecordCache()
    cache.add(ALL, records[:2], cache.generation)
    cache.find(ALL, [record.id for record in records[:5]])
    assert (cache.hits, cache.added) == (2, 2)


def test_what_callers_do_to_records_changes_nothing(store: EdgeStore, record: Make):
    arguments = {"ids": [record(3).id], "vectors": [PATCHES]}
    for _ in range(3):
        [found] = store.retrieve(**arguments)
        assert found.payload["metadata"] == record(3).payload["metadata"]
        np.testing.assert_allclose(found.vectors[PATCHES], record(3).vectors[PATCHES], atol=5e-4)
        found.payload["metadata"].clear()
        found.vectors[PATCHES][:] = 0


@pytest.mark.parametrize("datatype", ["float16", "float32", "turbo8"])
def test_records_are_the_same_to_the_last_bit(tmp_path: Path, record: Make, datatype: str):
    layout = Layout.for_dims(late=16, image=12, text=8, datatype=datatype)
    arguments = {"ids": [record(3).id], "vectors": sorted(layout.names)}
    with EdgeStore.create(tmp_path / "shard", layout) as store:
        store.upsert([record(3)])
        [first], [again] = store.retrieve(**arguments), store.retrieve(**arguments)
    assert again.payload == first.payload
    assert again.vectors["bm25"] == first.vectors["bm25"]
    for name in layout.names - {"bm25"}:
        assert again.vectors[name].dtype == np.float32
        np.testing.assert_array_equal(again.vectors[name], first.vectors[name])


def test_every_write_is_seen_at_once(store: EdgeStore, record: Make):
    page = record(3)

    def read() -> list[str]:
        for selection in ({"payload": ["page_content"]}, {}):  # each is cached by itself
            texts = [record.payload["page_content"] for record in store.retrieve([page.id], **selection)]
        return texts

    assert read() == ["text of page 3"]
    store.upsert([named(page, "new")])
    assert read() == ["new"]
    store.set_payload({"page_content": "set"}, PAGE)
    assert read() == ["set"]
    store.delete(PAGE)
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
