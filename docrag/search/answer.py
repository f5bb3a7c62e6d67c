"""From a query to hits: the flow behind `Index.search`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from docrag.common.timing import timed
from docrag.encode.encoders import Encoders
from docrag.errors import QueryError
from docrag.search.boosts import TitleMatch
from docrag.search.browse import page_fields
from docrag.search.fields import require_fields
from docrag.search.fusion import fuse, weights_for
from docrag.search.page_match import pages_named
from docrag.search.plan import Signal, queries
from docrag.search.query import Query
from docrag.search.regions import matched_regions
from docrag.search.stages import Stages
from docrag.store.base import Store
from docrag.store.images import PageImages
from docrag.store.payload import blocks_of, boxes_of
from docrag.types import PATCHES, Hit, PageRecord, Region, ScoredId, SparseVector, Vector


def answer(
    store: Store, images: PageImages, encoders: Encoders, query: Query, stages: Stages | None = None
) -> list[Hit]:
    """The pages that answer a query, best first.

    Args:
        store: The pages.
        images: Their pictures.
        encoders: Of the index.
        query: What is asked.
        stages: How many pages are compared exactly, as tuned; None takes the defaults.

    Raises:
        QueryError: The mode or the filter cannot be used, or the index has no encoder for such a query.
    """
    _require_takers(query, encoders)
    text = query.text.strip().encode(errors="replace").decode()  # a terminal may give halves of letters
    with timed("encode"):
        vectors = encoders.encode_query(text, query.image, query.audio)
    requests = queries(query.mode, vectors, query.filter, query.k, stages)
    with timed("retrieve"):
        rankings = dict(zip(requests, store.query(list(requests.values())), strict=True))
    titles, named = _told_matches(store, text, rankings) if text and len(rankings) > 1 else (None, None)
    ranked = fuse(rankings, titles, weights_for(vectors), named)[: query.k]
    if not ranked and query.filter:
        require_fields(store, query.filter)
    wanted = [PATCHES] if PATCHES in vectors else []
    records = {record.id: record for record in store.retrieve([page.id for page in ranked], vectors=wanted)}
    with timed("regions"), one_blas_thread():
        return [
            _hit(rank, page.score, _scores_of(page.id, rankings), records[page.id], images, vectors)
            for rank, page in enumerate(ranked, start=1)
            if page.id in records  # it may have been removed by another thread meanwhile
        ]


def _require_takers(query: Query, encoders: Encoders) -> None:
    """Refuse an image or a recording that nothing in the index can be compared with.

    Raises:
        QueryError: No encoder of the index takes it.
    """
    if query.image is not None and not encoders.takes_images:
        hint = "build an index with --image clip-vit-b-32, or a --late model that sees, or ask with words"
        raise QueryError("the index has no encoder that takes an image as a query", hint)
    if query.audio is not None and not encoders.takes_recordings:
        hint = "build an index with --image imagebind, or ask with words"
        raise QueryError("the index has no encoder that takes a recording as a query", hint)


def one_blas_thread() -> AbstractContextManager[Any]:
    """Keep products of small matrices on this thread.

    OpenBLAS gives them to all cores and lets those spin for 25 ms after each, in the way of the next search:
    the median search on two cores took 119 ms and twice the CPU time with that, and 104 ms without.
    The limit is the process's: threadpoolctl gives it to one thread at a time, and leaves others as they are.
    """
    limited: AbstractContextManager[Any] = _threadpools().limit(limits=1, user_api="blas")
    return limited


@cache
def _threadpools() -> ThreadpoolController:
    return ThreadpoolController()


def _scores_of(page_id: str, rankings: Mapping[Signal, Sequence[ScoredId]]) -> dict[str, float]:
    """What each signal that found a page gave it."""
    return {signal: page.score for signal, pages in rankings.items() for page in pages if page.id == page_id}


def _told_matches(
    store: Store, query: str, rankings: Mapping[Signal, Sequence[ScoredId]]
) -> tuple[dict[str, float], set[str] | None]:
    """What titles and page numbers say of the pages that a signal found.

    Returns:
        The share of the query that each one's title holds; those whose number it names; None for none.
    """
    match, numbers = TitleMatch(query), pages_named(query)
    found = sorted({page.id for pages in rankings.values() for page in pages})
    records = store.retrieve(found, payload=["metadata.title", "metadata.page"])
    told = {record.id: record.payload["metadata"] for record in records}
    named = {id for id, metadata in told.items() if metadata["page"] + 1 in numbers} if numbers else None
    shares = {title: match.share(title) for title in {metadata["title"] for metadata in told.values()}}
    return {id: shares[metadata["title"]] for id, metadata in told.items()}, named


def _hit(
    rank: int,
    score: float,
    scores: Mapping[str, float],
    record: PageRecord,
    images: PageImages,
    vectors: Mapping[str, Vector],
) -> Hit:
    return Hit(
        rank=rank,
        score=score,
        scores=scores,
        regions=_regions(record, vectors) if PATCHES in vectors else (),
        **page_fields(record, images),
    )


def _regions(record: PageRecord, vectors: Mapping[str, Vector]) -> tuple[Region, ...]:
    patches, query = record.vectors[PATCHES], vectors[PATCHES]
    assert not isinstance(patches, SparseVector)
    assert not isinstance(query, SparseVector)
    return matched_regions(query, np.asarray(patches), boxes_of(record.payload), blocks_of(record.payload))
