"""The component."""

from __future__ import annotations

import asyncio
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
from haystack_docrag.documents import document_of
from haystack_docrag.filters import docrag_filter

KEY = Secret.from_env_var("DOCRAG_API_KEY", strict=False)


@component
class DocragRetriever:
    """Pages that answer a question, as documents, best first.

    The index is opened when the component is first used and held until `close`; a directory index is opened
    by one at a time. Whatever else can be set comes from DOCRAG_* variables and docrag.toml.

    Args:
        index: A directory, or a collection on a Qdrant server; by default DOCRAG_INDEX, else ./docrag-index.
        top_k: How many pages, 1 or more.
        mode: hybrid, late, cosine or text.
        filters: In Haystack's dialect, on the metadata of the documents.
        filter_policy: Whether filters of a run replace these or are merged with them.
        score_threshold: Pages with a lower score are left out; scores of different modes do not compare.
        api_key: Of the Qdrant server, where it wants one.

    Raises:
        QueryError: top_k, the mode or the filters cannot be used.
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
        api_key: Secret | None = KEY,
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
        self._wanted(None, None, None)

    def to_dict(self) -> dict[str, Any]:
        """The component's settings; of the key, the name of its variable."""
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
        """A component like the one that `to_dict` was called on."""
        given = dict(data.get("init_parameters", {}))
        if isinstance(given.get("filter_policy"), str):
            given["filter_policy"] = FilterPolicy.from_str(given["filter_policy"])
        return default_from_dict(cls, {**data, "init_parameters": given})

    def warm_up(self) -> None:
        """Open the index, once.

        Raises:
            StoreError: There is no index, or it cannot be opened.
        """
        self._open()

    def close(self) -> None:
        """Let go of the index; a later run opens it again."""
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
            top_k: Instead of the component's.
            filters: Instead of the component's or beside them, as its policy says.
            mode: Instead of the component's.

        Returns:
            documents: The pages, best first.

        Raises:
            QueryError: The query is empty, or something that was given cannot be used.
            StoreError: There is no index, or it cannot be opened.
        """
        wanted = self._wanted(top_k, filters, mode)
        return {"documents": self._documents(self._open().search(query, **wanted))}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query: str,
        top_k: int | None = None,
        filters: dict[str, Any] | None = None,
        mode: str | None = None,
    ) -> dict[str, list[Document]]:
        """The same as `run`, while the event loop goes on.

        Args:
            query: A question or some words.
            top_k: Instead of the component's.
            filters: Instead of the component's or beside them, as its policy says.
            mode: Instead of the component's.

        Returns:
            documents: The pages, best first.

        Raises:
            QueryError: The query is empty, or something that was given cannot be used.
            StoreError: There is no index, or it cannot be opened.
        """
        wanted = self._wanted(top_k, filters, mode)
        opened = await asyncio.to_thread(self._open)
        return {"documents": self._documents(await opened.asearch(query, **wanted))}

    def _open(self) -> Index:
        with self._lock:
            if self._opened is None:
                key = self.api_key.resolve_value() if self.api_key else None
                settings = load_settings(index=self.index, api_key=key)
                self._opened = Index.open(settings=settings, create=False)
            return self._opened

    def _wanted(self, top_k: int | None, filters: dict[str, Any] | None, mode: str | None) -> dict[str, Any]:
        """What is asked of the index, checked."""
        k = self.top_k if top_k is None else top_k
        chosen = self.mode if mode is None else mode
        if k < 1:
            raise QueryError(f"top_k = {k}", "ask for at least one page")
        if chosen not in MODES:
            raise QueryError(f"no mode {chosen!r}", f"one of {', '.join(MODES)}")
        policy = apply_filter_policy(self.filter_policy, self.filters, filters)
        return {"k": k, "mode": chosen, "filter": docrag_filter(policy)}

    def _documents(self, hits: list[Hit]) -> list[Document]:
        least = float("-inf") if self.score_threshold is None else self.score_threshold
        return [document_of(hit) for hit in hits if hit.score >= least]
