"""Every search of the server, from the API and from the page: cached, limited, measured and traced here."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

from docrag.common.time_limit import time_limit
from docrag.common.timing import listening
from docrag.errors import IndexNotFound
from docrag.index.index import Index
from docrag.search.filters import Filter
from docrag.serve.cache import SearchCache
from docrag.serve.document_list import DocumentList
from docrag.serve.metrics import Metrics
from docrag.serve.settings import ServeSettings
from docrag.serve.tracing import retrieval_span
from docrag.types import Hit, Mode

if TYPE_CHECKING:
    from PIL.Image import Image

    from docrag.search.heatmap import Heatmap

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

CACHED_HEATMAPS = 16
"""Number of heatmaps in the cache: a browser requests the image of each word of a question separately."""
MAX_CONCURRENT = (os.cpu_count() or 1) + 2
"""Searches that run at the same time; others wait in order, without a thread. Most of a search holds the
interpreter lock, also inside the engine (qdrant-edge 0.9.0), so more threads only wait for each other: with
fifty clients on two cores, forty concurrent searches took a fifth more CPU time per search than four, and
350 MiB more memory."""


_NO_PAGE = "00000000-0000-0000-0000-000000000000"


def require_answer(index: Index, seconds: float) -> None:
    """Ask an index for a page that it does not have, once.

    Args:
        index: The index.
        seconds: How long a Qdrant server may take to answer.

    Raises:
        StoreError: The index is closed, or does not answer.
    """
    with time_limit(seconds, only_one_try=True):
        index.pages([_NO_PAGE])


class SearchResult(NamedTuple):
    """The hits of a search, and how long it took."""

    hits: Sequence[Hit]
    seconds: float
    version: Hashable
    """The version of the documents before the search started."""


class Searches:
    """Searches an index on behalf of requests.

    Args:
        index: The index that all requests share.
        documents: Their version says when cached results become stale.
        settings: The name of the index in traces, and whether queries are traced.
        metrics: Where each search is recorded.
    """

    def __init__(
        self, index: Index, documents: DocumentList, settings: ServeSettings, metrics: Metrics
    ) -> None:
        self._index = index
        self._documents = documents
        self._cache = SearchCache(max_age=documents.max_age)
        self._settings = settings
        self._metrics = metrics
        self._limiter = CapacityLimiter(MAX_CONCURRENT)
        has_folder = settings.folder is not None and settings.folder.is_dir()
        self._folder = settings.folder if has_folder else None
        self._cached_heatmap = lru_cache(maxsize=CACHED_HEATMAPS)(self._compute_heatmap)

    async def run_limited(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that searches in a thread, once fewer than `MAX_CONCURRENT` others run.

        The wait for them counts in the time that a Qdrant server has to answer.
        """
        with time_limit(self._settings.server_timeout):
            return await to_thread.run_sync(partial(function, *args, **kwargs), limiter=self._limiter)

    def search(
        self,
        headers: Mapping[str, str],
        query: str,
        k: int,
        mode: Mode,
        filter: Filter | None = None,
        *,
        image: Image | None = None,
        regions: bool = True,
    ) -> SearchResult:
        """Search the index as `Index.search` does.

        Args:
            headers: Headers of the request, which may name a parent span.
            query: A question or keywords.
            k: Number of pages.
            mode: Which signals rank them.
            filter: Metadata that a page must match.
            image: An image that the pages should look like.
            regions: Whether hits say which parts of their pages match.

        Raises:
            QueryError: The query or the filter cannot be used.
            IndexNotFound: The index was removed while the server ran.
        """
        self.require_index()
        started = time.perf_counter()
        version = self._documents.version()
        with (
            retrieval_span(self._settings, headers, self._model(), mode, k) as span,
            listening(self._metrics.observe_stage),
        ):
            if image is None:
                hits = self._search_cached(version, query, k, mode, filter, regions)
            else:
                hits = self._index.search(query, k, mode, filter, image=image, regions=regions)
            span.record(query, hits)
        seconds = time.perf_counter() - started
        self._metrics.search_seconds.labels("all").observe(seconds)
        self._metrics.search_hits.observe(len(hits))
        logger.debug("%s search: %d of %d pages in %.3f s", mode, len(hits), k, seconds)
        return SearchResult(hits, seconds, version)

    def heatmap(self, page_id: str, query: str) -> Heatmap:
        """How well each part of a page matches each word of a query; recent ones are cached.

        Raises:
            NotFound: The page is not in the index, or not any more.
            QueryError: The query is empty, or the encoder does not locate its matches on the page.
        """
        self._index.page(page_id)  # raises for a removed page, whose heatmap may still be cached
        return self._cached_heatmap(page_id, query, self._documents.version())

    def require_index(self) -> None:
        """Refuse to search files that were deleted, but that this process still holds open.

        Raises:
            IndexNotFound: The directory of the index is gone.
        """
        if self._folder is not None and not self._folder.is_dir():
            hint = "put it back, or ingest the documents again, and start docrag serve again"
            raise IndexNotFound("the index is no longer where it was when the server started", hint)

    def _model(self) -> str:
        """Name of the late-interaction model; a migration may have changed it since the server started."""
        model: str = self._index.fingerprint["late"]["model"]
        return model

    def _search_cached(
        self, version: Hashable, query: str, k: int, mode: Mode, filter: Filter | None, regions: bool
    ) -> Sequence[Hit]:
        """Search, or take the hits from the cache if the documents have not changed since."""
        key: Hashable = (query, k, mode, repr(filter), regions)
        hits = self._cache.get(key, version)
        if hits is not None:
            logger.debug("search cache hit")
            return hits
        hits = self._index.search(query, k, mode, filter, regions=regions)
        self._cache.put(key, version, hits)
        return hits

    def _compute_heatmap(self, page_id: str, query: str, _version: Hashable) -> Heatmap:
        with listening(self._metrics.observe_stage):
            return self._index.heatmap(page_id, query)
