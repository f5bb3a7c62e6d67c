"""How often a search calls its store, and what it reads there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pytest

from docrag.index.index import Index
from docrag.search.answer import MAX_READ, answer
from docrag.search.query import Query
from docrag.store.base import Store
from docrag.types import Hit, PageRecord, ScoredId

WORDS = "When does the ferry leave?"
FULL = {"vectors": ("patches",), "payload": None}
TITLES = {"payload": ("metadata.title", "metadata.page")}


class CountedStore:
    """A store that notes how it is read."""

    def __init__(self, store: Store, tied: bool = False) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._store = store
        self._tied = tied

    def query(self, requests: Sequence[Any], **wanted: Any) -> list[list[ScoredId]]:
        self.calls.append(("query", wanted))
        rankings = self._store.query(requests, **wanted)
        if not self._tied:
            return rankings
        return [[ScoredId(page.id, 1.0, page.record) for page in pages] for pages in rankings]

    def retrieve(self, ids: Sequence[str], **wanted: Any) -> list[PageRecord]:
        self.calls.append(("retrieve", {"pages": len(ids), **wanted}))
        return self._store.retrieve(ids, **wanted)


def ask(index: Index, query: Query, **options: Any) -> tuple[CountedStore, list[Hit]]:
    storage = index._storage
    store = CountedStore(storage.store, **options)
    return store, answer(store, storage.images, index._encoders, query)


@pytest.mark.parametrize("mode", ["late", "cosine", "text"])
def test_a_single_signal_brings_its_hits_itself(demo_index: Index, mode: str):
    store, hits = ask(demo_index, Query(WORDS, k=3, mode=mode))
    assert store.calls == [("query", FULL)]
    assert len(hits) == 3
    assert all(hit.regions for hit in hits)


def test_hybrid_search_reads_titles_with_its_query_and_then_its_hits(demo_index: Index):
    store, hits = ask(demo_index, Query(WORDS, k=3))
    assert store.calls == [("query", TITLES), ("retrieve", {"pages": 3, "vectors": ("patches",)})]
    assert all(hit.regions for hit in hits)


@pytest.mark.parametrize("mode", ["hybrid", "late", "cosine", "text"])
def test_without_regions_no_vectors_are_read_and_all_else_is_the_same(demo_index: Index, mode: str):
    store, hits = ask(demo_index, Query(WORDS, k=3, mode=mode, regions=False))
    assert not any(wanted.get("vectors") for _, wanted in store.calls)
    for hit, expected in zip(hits, demo_index.search(WORDS, 3, mode), strict=True):
        assert hit.regions == ()
        assert expected.regions
        assert all(
            getattr(hit, field.name) == getattr(expected, field.name)
            for field in fields(Hit)
            if field.name != "regions"
        )


def test_many_hits_are_read_after_their_ranking(demo_index: Index):
    store, hits = ask(demo_index, Query(WORDS, k=MAX_READ + 1, mode="text"))
    assert [name for name, _ in store.calls] == ["query", "retrieve"]
    assert hits == ask(demo_index, Query(WORDS, k=MAX_READ, mode="text"))[1] or len(hits) > MAX_READ


@pytest.mark.parametrize("mode", ["late", "cosine", "text"])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_pages_with_equal_scores_are_ordered_by_their_ids_wherever_k_cuts(
    demo_index: Index, mode: str, k: int
):
    store, hits = ask(demo_index, Query(WORDS, k=k, mode=mode), tied=True)
    everything = ask(demo_index, Query(WORDS, k=1000, mode=mode), tied=True)[1]
    assert [hit.page_id for hit in hits] == sorted(hit.page_id for hit in everything)[:k]
    assert [name for name, _ in store.calls] == ["query", "query", "retrieve"][: len(store.calls)]


@pytest.mark.parametrize("mode", ["late", "cosine", "text"])
def test_fewer_hits_are_the_first_of_more(demo_index: Index, mode: str):
    more = [(hit.page_id, hit.score) for hit in demo_index.search(WORDS, MAX_READ + 1, mode)]
    for k in (1, 3, 7):
        assert [(hit.page_id, hit.score) for hit in demo_index.search(WORDS, k, mode)] == more[:k]


def test_a_query_of_stop_words_asks_the_store_nothing(demo_index: Index):
    store, hits = ask(demo_index, Query("the of", mode="text"))
    assert (store.calls, hits) == ([], [])
