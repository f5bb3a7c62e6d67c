"""DocragRetriever: the Haystack component."""

from __future__ import annotations

import asyncio
import logging
import os
from threading import Lock
from typing import Any, Self

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.document_stores.types import FilterPolicy, apply_filter_policy
from haystack.utils import Secret

from docrag import Index
from docrag.errors import QueryError
from docrag.settings import load_settings
from docrag.types import MODES, Hit
from haystack_docrag.documents import hit_document
from haystack_docrag.filters import translate_haystack_filter

logger = logging.getLogger(__name__)

API_KEY = Secret.from_env_var("DOCRAG_API_KEY", strict=False)


@component
class DocragRetriever:
    """Retrieves the pages that answer a question, as documents, best first.

    The index is opened when the component is first used and stays open until `close`; other components and
    processes can use it at the same time. Other settings come from DOCRAG_* variables and docrag.toml.

    Args:
        index: A directory, or a collection on a Qdrant server. The default is DOCRAG_INDEX, then
            ./docrag-index.
        top_k: The number of pages, 1 or more.
        mode: hybrid, late, cosine or text.
        filters: A filter in Haystack's syntax, on the metadata of the documents.
        filter_policy: Whether the filters of a run replace these or are merged with them.
        score_threshold: Pages with a lower score are dropped; scores of different modes are not comparable.
        api_key: The API key of the Qdrant server, if it requires one.

    Raises:
        QueryError: top_k, the mode or the filters are invalid.
    """

    def __init__(
        self,
        index: str | os.PathLike[str] | None = None,
        *,
        top_k: int = 10,
        mode: str = "hybrid",
        filters: dict[str, Any] | None = None,
        filter_policy: FilterPolicy = FilterPolicy.REPLACE,
        score_threshold: float | None = None,
        api_key: Secret | None = API_KEY,
    ) -> None:
        self.index = None if index is None else str(index)
        self.top_k = top_k
        self.mode = mode
        self.filters = filters
        self.filter_policy = filter_policy
        self.score_threshold = score_threshold
        self.api_key = api_key
        self._opened: Index | None = None
        self._lock = Lock()
        self._search_arguments(None, None, None)  # refuses invalid arguments now, not in the first run

    def to_dict(self) -> dict[str, Any]:
        """Serialize the component; of the API key, only the name of its variable is written."""
        return default_to_dict(
            self,
            index=self.index,
            top_k=self.top_k,
            mode=self.mode,
            filters=self.filters,
            filter_policy=self.filter_policy.value,
            score_threshold=self.score_threshold,
            api_key=self.api_key,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the component that `to_dict` serialized."""
        parameters = dict(data.get("init_parameters", {}))
        if isinstance(parameters.get("filter_policy"), str):
            parameters["filter_policy"] = FilterPolicy.from_str(parameters["filter_policy"])
        return default_from_dict(cls, {**data, "init_parameters": parameters})

    def warm_up(self) -> None:
        """Open the index, unless it is open already.

        Raises:
            StoreError: There is no index, or it cannot be opened.
        """
        self._open()

    def close(self) -> None:
        """Close the index; a later run opens it again."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        top_k: int | None = None,
        filters: dict[str, Any] | None = None,
        mode: str | None = None,
    ) -> dict[str, list[Document]]:
        """Find pages.

        Args:
            query: A question or some words.
            top_k: Overrides the component's top_k.
            filters: Replaces the component's filters or is merged with them, as its policy says.
            mode: Overrides the component's mode.

        Returns:
            documents: The pages, best first.

        Raises:
            QueryError: The query is empty, or another argument is invalid.
            StoreError: There is no index, or it cannot be opened.
        """
        arguments = self._search_arguments(top_k, filters, mode)
        return {"documents": self._documents(self._open().search(query, **arguments))}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query: str,
        top_k: int | None = None,
        filters: dict[str, Any] | None = None,
        mode: str | None = None,
    ) -> dict[str, list[Document]]:
        """Like `run`, without blocking the event loop.

        Args:
            query: A question or some words.
            top_k: Overrides the component's top_k.
            filters: Replaces the component's filters or is merged with them, as its policy says.
            mode: Overrides the component's mode.

        Returns:
            documents: The pages, best first.

        Raises:
            QueryError: The query is empty, or another argument is invalid.
            StoreError: There is no index, or it cannot be opened.
        """
        arguments = self._search_arguments(top_k, filters, mode)
        index = await asyncio.to_thread(self._open)
        return {"documents": self._documents(await index.asearch(query, **arguments))}

    def _open(self) -> Index:
        with self._lock:
            if self._opened is None:
                api_key = self.api_key.resolve_value() if self.api_key else None
                settings = load_settings(index=self.index, api_key=api_key)
                self._opened = Index.open(settings=settings, create=False)
                logger.info("opened the index %s", settings.index)
            return self._opened

    def _search_arguments(
        self, top_k: int | None, filters: dict[str, Any] | None, mode: str | None
    ) -> dict[str, Any]:
        """The arguments of `Index.search`; None stands for what the component was made with.

        Raises:
            QueryError: One of them is invalid.
        """
        k = self.top_k if top_k is None else top_k
        search_mode = self.mode if mode is None else mode
        if k < 1:
            raise QueryError(f"top_k = {k}", "ask for at least one page")
        if search_mode not in MODES:
            raise QueryError(f"no mode {search_mode!r}", f"one of {', '.join(MODES)}")
        applied = apply_filter_policy(self.filter_policy, self.filters, filters)
        return {"k": k, "mode": search_mode, "filter": translate_haystack_filter(applied)}

    def _documents(self, hits: list[Hit]) -> list[Document]:
        if self.score_threshold is None:
            return [hit_document(hit) for hit in hits]
        good_hits = [hit for hit in hits if hit.score >= self.score_threshold]
        logger.debug("%d of %d pages reach the score threshold", len(good_hits), len(hits))
        return [hit_document(hit) for hit in good_hits]
