"""Every search of the server, whoever asks: measured, counted and traced in one place."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

from docrag.common.timing import listening
from docrag.errors import IndexNotFound
from docrag.index.index import Index
from docrag.search.filters import Filter
from docrag.serve.cache import AnswerCache
from docrag.serve.document_list import FRESH, Documents
from docrag.serve.metrics import Metrics
from docrag.serve.settings import ServeSettings
from docrag.serve.tracing import retrieval
from docrag.types import Hit, Mode

if TYPE_CHECKING:
    from PIL.Image import Image

    from docrag.search.heatmap import Heatmap

P = ParamSpec("P")
T = TypeVar("T")

HEATMAPS = 16
"""Questions whose heatmaps are kept: a browser asks for each word of one by itself."""
AT_ONCE = (os.cpu_count() or 1) + 2
"""Searches under way; the others wait in the order in which they came, without a thread. Most of a search
holds the interpreter lock, also in the engine (qdrant-edge 0.9.0), so that more threads only wait for each
other: of fifty clients on two cores, forty at once took a fifth more CPU time a search than four at once, and
350 MiB more of memory."""


class Found(NamedTuple):
    """What a search gave."""

    hits: Sequence[Hit]
    seconds: float


class Searches:
    """Searches an index for requests.

    Args:
        index: Shared by all of them.
        documents: Say when answers no longer hold.
        settings: Say how the index is called in traces, and whether queries are traced.
        metrics: Are told of each search.
    """

    def __init__(self, index: Index, documents: Documents, settings: ServeSettings, metrics: Metrics) -> None:
        self._index = index
        self._documents = documents
        shared = "://" in index.status().uri  # with other processes, which write to it too
        self._answered = AnswerCache(FRESH if shared else math.inf)
        self._settings = settings
        self._metrics = metrics
        self._turns = CapacityLimiter(AT_ONCE)
        there = settings.folder is not None and settings.folder.is_dir()
        self._folder = settings.folder if there else None
        self._model: str = index.fingerprint["late"]["model"]
        self._heatmaps = lru_cache(maxsize=HEATMAPS)(self._heatmap)

    async def in_turn(self, answer: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a function that searches gives, once few enough are at it; in a thread."""
        return await to_thread.run_sync(partial(answer, *args, **kwargs), limiter=self._turns)

    def search(
        self,
        headers: Mapping[str, str],
        query: str,
        k: int,
        mode: Mode,
        filter: Filter | None = None,
        *,
        image: Image | None = None,
    ) -> Found:
        """The pages that answer, as `Index.search` gives them.

        Args:
            headers: Of the request: they may name the span that this one belongs to.
            query: A question or some words.
            k: How many pages.
            mode: Which signals rank them.
            filter: Metadata that a page must have.
            image: What pages should look like.

        Raises:
            QueryError: It cannot be asked so.
            IndexNotFound: The index was removed meanwhile.
        """
        self.require_index()
        started = time.perf_counter()
        with (
            retrieval(self._settings, headers, self._model, mode, k) as span,
            listening(self._metrics.stage),
        ):
            hits = self._answer(query, k, mode, filter, image)
            span.found(query, hits)
        seconds = time.perf_counter() - started
        self._metrics.search_seconds.labels("all").observe(seconds)
        self._metrics.search_hits.observe(len(hits))
        return Found(hits, seconds)

    def heatmap(self, page_id: str, query: str) -> Heatmap:
        """How well each place of a page matches each word of a question; the latest are kept.

        Raises:
            NotFound: The page is not in the index, or no longer.
            QueryError: The query is empty, or the page shows no places.
        """
        self._index.page(page_id)  # what is kept of a removed page is not shown
        return self._heatmaps(page_id, query)

    def _answer(
        self, query: str, k: int, mode: Mode, filter: Filter | None, image: Image | None
    ) -> Sequence[Hit]:
        """What the index finds; the same question is answered once while the documents stay the same."""
        asked = (query, k, mode, repr(filter), self._index.changes)
        version = self._documents.version
        hits = self._answered.get(asked, version) if image is None else None
        if hits is None:
            hits = self._index.search(query, k, mode, filter, image=image)
            if image is None:
                self._answered.keep(asked, version, hits)
        return hits

    def require_index(self) -> None:
        """Refuse to answer from files that were removed and that this process alone still sees.

        Raises:
            IndexNotFound: They were.
        """
        if self._folder is not None and not self._folder.is_dir():
            hint = "put it back, or ingest the documents again, and start docrag serve again"
            raise IndexNotFound("the index is no longer where it was when the server started", hint)

    def _heatmap(self, page_id: str, query: str) -> Heatmap:
        with listening(self._metrics.stage):
            return self._index.heatmap(page_id, query)
