"""From a query to hits: the flow behind `Index.search`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from docrag.store.requests import QueryRequest
from docrag.types import PATCHES, Block, Hit, PageRecord, Region, ScoredId, SparseVector, Vector

logger = logging.getLogger(__name__)

Rankings = Mapping[Signal, Sequence[ScoredId]]

BOOSTED_BY = ("metadata.title", "metadata.page")
"""The payload that says how much a page is boosted."""
MAX_READ = 16
"""Hits that the query of a single signal brings with their vectors, half a megabyte each; if there are more,
they are read in several requests afterwards."""


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
    names = (PATCHES,) if query.regions and PATCHES in vectors else ()
    with timed("retrieve"):
        rankings = _rank(store, text, requests, query.k, names)
    logger.debug("query %r: %s", text, {signal: len(pages) for signal, pages in rankings.items()})
    boosts = _boosts(text, rankings)
    ranked = fuse(rankings, boosts.title_shares, weights_for(vectors), boosts.named)[: query.k]
    if not ranked and query.filter:
        require_fields(store, query.filter)
    records = _records(store, ranked, names)
    return _hits(images, ranked, records, rankings, vectors if names else {})


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


def _rank(
    store: Store, question: str, requests: Mapping[Signal, QueryRequest], k: int, names: Sequence[str]
) -> Rankings:
    """The pages that each signal finds, with what can be read in the same round trip.

    For several signals these are the title and number of each page, which the boosts need. Of a single one,
    it is all that the hits need.
    """
    if not requests:
        return {}
    if len(requests) == 1:
        [(signal, request)] = requests.items()
        return {signal: _rank_alone(store, request, k, names)}
    found = store.query(list(requests.values()), payload=BOOSTED_BY if question else ())
    return dict(zip(requests, found, strict=True))


def _rank_alone(store: Store, request: QueryRequest, k: int, names: Sequence[str]) -> list[ScoredId]:
    """The pages that the only signal of a search finds, with their records if these are few."""
    if k > MAX_READ:
        [pages] = store.query([request])
        return pages
    [pages] = store.query([replace(request, limit=k + 1)], vectors=names, payload=None)
    if len(pages) > k and pages[k - 1].score == pages[k].score:
        # Ties are ordered by id, so the pages that tie with the last hit must all be known.
        [pages] = store.query([request])
    return pages


def _boosts(question: str, rankings: Rankings) -> Boosts:
    """What titles and page numbers say about the pages that the signals found.

    There is nothing to boost if the query has no words, or if a single signal keeps its own scores.
    """
    if not question or len(rankings) <= 1:
        return Boosts(None, None)
    records = (page.record for pages in rankings.values() for page in pages)
    metadata = {record.id: record.payload["metadata"] for record in records if record}
    match = TitleMatch(question)
    shares = {title: match.share(title) for title in {page["title"] for page in metadata.values()}}
    title_shares = {page_id: shares[page["title"]] for page_id, page in metadata.items()}
    numbers = named_pages(question)
    if not numbers:
        return Boosts(title_shares, None)
    named = frozenset(page_id for page_id, page in metadata.items() if page["page"] + 1 in numbers)
    return Boosts(title_shares, named)


def _records(store: Store, ranked: Sequence[ScoredId], names: Sequence[str]) -> dict[str, PageRecord]:
    """The records of the hits by their ids; those that the query has not brought are read now."""
    records = {page.id: page.record for page in ranked if page.record}
    missing = [page.id for page in ranked if page.id not in records]
    if missing:
        records |= {record.id: record for record in store.retrieve(missing, vectors=names)}
    return records


def _hits(
    images: PageImages,
    ranked: Sequence[ScoredId],
    records: Mapping[str, PageRecord],
    rankings: Rankings,
    vectors: Mapping[str, Vector],
) -> list[Hit]:
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
