"""Cached search results are used only while they are still true."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from fastapi.testclient import TestClient

from docrag import Index, demo
from docrag.serve.app import create_app
from docrag.serve.cache import SearchCache
from docrag.serve.document_list import DocumentList
from docrag.serve.metrics import Metrics
from docrag.serve.searches import Searches
from docrag.serve.settings import ServeSettings
from docrag.types import Hit
from tests.samples import CLOCK, FERRY, write_pdf
from tests.serve.conftest import HERE

QUESTION = demo.QUESTIONS[0].text


@pytest.fixture(scope="module")
def hits(demo_index: Index) -> list[Hit]:
    return demo_index.search(QUESTION, 3)


def test_cached_hits_come_back_whole(hits: list[Hit]):
    cache, version = SearchCache(math.inf), object()
    cache.put("key", version, hits)
    assert cache.get("key", version) == hits
    assert cache._size > sum(len(hit.text) for hit in hits)
    assert cache.get("another key", version) is None


def test_an_entry_ends_with_a_change_and_with_its_age(hits: list[Hit], monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    cache, version = SearchCache(max_age=5.0), object()
    cache.put("key", version, hits)
    assert cache.get("key", object()) is None
    now = 104.9
    assert cache.get("key", version) == hits
    now = 105.0
    assert cache.get("key", version) is None


def test_the_least_recently_used_entries_make_room(hits: list[Hit]):
    cache, version = SearchCache(math.inf), object()
    cache.put(0, version, hits)
    cache = SearchCache(math.inf, max_bytes=cache._size * 3)
    for key in range(3):
        cache.put(key, version, hits)
    assert cache.get(0, version) == hits  # used now, so that 1 is the oldest
    cache.put(3, version, hits)
    cache.put(3, version, hits)
    assert [key for key in range(4) if cache.get(key, version)] == [0, 2, 3]


def test_the_index_is_searched_once_until_documents_change(
    demo_index: Index, monkeypatch: pytest.MonkeyPatch
):
    calls = []

    def search(*arguments, **options):
        calls.append(arguments)
        return Index.search(demo_index, *arguments, **options)

    documents = DocumentList(demo_index)
    searches = Searches(demo_index, documents, ServeSettings(), Metrics())
    monkeypatch.setattr(demo_index, "search", search)
    first = searches.search({}, QUESTION, 3, "hybrid")
    again = searches.search({}, QUESTION, 3, "hybrid")
    assert (again.hits, len(calls)) == (first.hits, 1)
    for different in (
        (QUESTION, 2, "hybrid"),
        (QUESTION, 3, "late"),
        (QUESTION, 3, "hybrid", {"page": 3}),
        (QUESTION, 3, "hybrid", {"page": 4}),
        ("ferry", 3, "hybrid"),
    ):
        searches.search({}, *different)
    assert len(calls) == 6
    documents.invalidate()
    searches.search({}, QUESTION, 3, "hybrid")
    assert len(calls) == 7


def test_the_index_is_searched_again_after_a_change_by_another_process(demo_index: Index):
    index = SharedIndex(demo_index)
    searches = Searches(index, DocumentList(index, math.inf), ServeSettings(), Metrics())
    first = searches.search({}, QUESTION, 3, "hybrid")
    index.changes = ("engine", int("1"))  # equal to the one before
    assert searches.search({}, QUESTION, 3, "hybrid") == first._replace(seconds=ANY)
    assert index.searched == 1
    index.changes = ("engine", 2)
    again = searches.search({}, QUESTION, 3, "hybrid")
    assert (again.hits, index.searched) == (first.hits, 2)
    assert again.version != first.version


class SharedIndex:
    """An index that other processes change: its token says so."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.changes = ("engine", 1)
        self.searched = 0

    def search(self, *arguments: Any, **options: Any) -> list[Hit]:
        self.searched += 1
        return self._index.search(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)


def test_a_cache_hit_is_logged_without_the_query(demo_index: Index, caplog: pytest.LogCaptureFixture):
    searches = Searches(demo_index, DocumentList(demo_index), ServeSettings(), Metrics())
    with caplog.at_level(logging.DEBUG, logger="docrag.serve"):
        searches.search({}, QUESTION, 3, "hybrid")
        assert "cache hit" not in caplog.text
        searches.search({}, QUESTION, 3, "hybrid")
    assert "search cache hit" in caplog.text
    assert "hybrid search: 3 of 3 pages" in caplog.text
    assert QUESTION not in caplog.text


@pytest.mark.slow
def test_documents_that_this_process_ingests_by_itself_are_found_at_once(tmp_path: Path):
    """A program may serve its index and change it without telling the server."""
    question = {"query": "pendulum of a clock", "k": 1}
    with Index.open(tmp_path / "index") as index:
        client = TestClient(create_app(index), base_url=HERE)
        for name, text in (("ferry.pdf", FERRY), ("clock.pdf", CLOCK)):
            index.ingest(write_pdf(tmp_path / name, text))
            [hit] = client.post("/v1/search", json=question).json()["hits"]
            assert hit["file"].endswith(name)
