"""From a query to hits: the flow behind `Index.search`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from docrag.common.blas import one_blas_thread
from docrag.common.timing import timed
from docrag.encode.encoders import Encoders
from docrag.errors import QueryError
from docrag.search.filters import require_fields
from docrag.search.fusion import TitleMatch, fuse, named_pages, weights_for
from docrag.search.query import Query, Signal, plan_queries
from docrag.search.regions import matched_regions
from docrag.search.stages import Stages
from docrag.store.base import Store
from docrag.store.images import PageImages
from docrag.store.payload import boxes_of, page_fields
from docrag.types import PATCHES, Block, Hit, PageRecord, Region, ScoredId, SparseVector, Vector

logger = logging.getLogger(__name__)

Rankings = Mapping[Signal, Sequence[ScoredId]]


class Boosts(NamedTuple):
    """What raises pages in hybrid search beside their scores."""

    title_shares: Mapping[str, float] | None
    """By page id, the share of the question that is in the title of its document."""
    named: frozenset[str] | None
    """Ids of the pages whose number the question names."""


def answer(
    store: Store, images: PageImages, encoders: Encoders, query: Query, stages: Stages | None = None
) -> list[Hit]:
    """The pages that answer a query, best first.

    Args:
        store: The pages.
        images: Their images.
        encoders: The encoders of the index.
        query: The query.
        stages: How many pages each stage lets through. None takes the defaults.

    Raises:
        QueryError: The mode or the filter cannot be used, or the index has no encoder for such a query.
    """
    _require_encoders(query, encoders)
    text = query.text.strip().encode(errors="replace").decode()  # a terminal may give lone surrogates
    with timed("encode"):
        vectors = encoders.encode_query(text, query.image, query.audio)
    requests = plan_queries(query.mode, vectors, query.filter, query.k, stages)
    with timed("retrieve"):
        rankings = dict(zip(requests, store.query(list(requests.values())), strict=True))
    logger.debug("query %r: %s", text, {signal: len(pages) for signal, pages in rankings.items()})
    boosts = _boosts(store, text, rankings)
    ranked = fuse(rankings, boosts.title_shares, weights_for(vectors), boosts.named)[: query.k]
    if not ranked and query.filter:
        require_fields(store, query.filter)
    return _hits(store, images, ranked, rankings, vectors)


def _require_encoders(query: Query, encoders: Encoders) -> None:
    """Refuse an image or a recording if nothing in the index can be compared with it.

    Raises:
        QueryError: No encoder of the index takes it.
    """
    if query.image is not None and not encoders.takes_images:
        raise QueryError(
            "the index has no encoder that takes an image as a query",
            "build an index with --image clip-vit-b-32 or a --late model that sees, or ask with words",
        )
    if query.audio is not None and not encoders.takes_recordings:
        raise QueryError(
            "the index has no encoder that takes a recording as a query",
            "build an index with --image imagebind, or ask with words",
        )


def _boosts(store: Store, question: str, rankings: Rankings) -> Boosts:
    """What titles and page numbers say about the pages that the signals found.

    There is nothing to boost if the query has no words, or if a single signal keeps its own scores.
    """
    if not question or len(rankings) <= 1:
        return Boosts(None, None)
    found = sorted({page.id for pages in rankings.values() for page in pages})
    records = store.retrieve(found, payload=["metadata.title", "metadata.page"])
    metadata = {record.id: record.payload["metadata"] for record in records}
    match = TitleMatch(question)
    shares = {title: match.share(title) for title in {page["title"] for page in metadata.values()}}
    title_shares = {page_id: shares[page["title"]] for page_id, page in metadata.items()}
    numbers = named_pages(question)
    if not numbers:
        return Boosts(title_shares, None)
    named = frozenset(page_id for page_id, page in metadata.items() if page["page"] + 1 in numbers)
    return Boosts(title_shares, named)


def _hits(
    store: Store,
    images: PageImages,
    ranked: Sequence[ScoredId],
    rankings: Rankings,
    vectors: Mapping[str, Vector],
) -> list[Hit]:
    names = [PATCHES] if PATCHES in vectors else []
    records = {record.id: record for record in store.retrieve([page.id for page in ranked], vectors=names)}
    hits = []
    with timed("regions"), one_blas_thread():
        for rank, page in enumerate(ranked, start=1):
            record = records.get(page.id)
            if record is None:  # another thread has removed the page meanwhile
                continue
            fields = page_fields(record, images.root)
            regions = _regions(record, vectors, fields["blocks"])
            scores = _signal_scores(page.id, rankings)
            hits.append(Hit(rank=rank, score=page.score, scores=scores, regions=regions, **fields))
    return hits


def _signal_scores(page_id: str, rankings: Rankings) -> dict[str, float]:
    """The score of each signal that found a page."""
    return {signal: page.score for signal, pages in rankings.items() for page in pages if page.id == page_id}


def _regions(
    record: PageRecord, vectors: Mapping[str, Vector], blocks: Sequence[Block]
) -> tuple[Region, ...]:
    query = vectors.get(PATCHES)
    if query is None:
        return ()
    patches = record.vectors[PATCHES]
    assert not isinstance(patches, SparseVector)
    assert not isinstance(query, SparseVector)
    return matched_regions(query, np.asarray(patches), boxes_of(record.payload), blocks)
