"""The retriever."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import MetadataFilters

from docrag import Index
from docrag.errors import QueryError
from docrag.operations.follow import open_folder
from docrag.search.filters import Filter
from docrag.settings import Settings
from docrag.types import MODES, Hit, Mode
from llama_index_docrag.filters import docrag_filter
from llama_index_docrag.nodes import node_of


class DocragRetriever(BaseRetriever):
    """Pages that answer a question, as nodes with their image, best first.

    A query is words, an image (`QueryBundle(image_path=...)`, where an encoder of the index sees), or both;
    custom embedding strings are not looked at. An index that `from_index` or `from_folder` opened is closed
    by `close`, or at the end of a `with` block; one that was given stays open.

    Args:
        index: An open index.
        k: How many pages, 1 or more.
        mode: hybrid, late, cosine or text.
        filter: MetadataFilters, a mapping of metadata, or a condition of docrag.search.filters.
        score_threshold: Pages with a lower score are left out; scores of different modes do not compare.
        callback_manager: Hears of every retrieval.
        verbose: As in LlamaIndex.

    Raises:
        QueryError: k, the mode or the filter cannot be used.
    """

    def __init__(
        self,
        index: Index,
        *,
        k: int = 5,
        mode: Mode = "hybrid",
        filter: MetadataFilters | Filter | None = None,
        score_threshold: float | None = None,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        if k < 1:
            raise QueryError(f"k = {k}", "ask for at least one page")
        if mode not in MODES:
            raise QueryError(f"no mode {mode!r}", f"one of {', '.join(MODES)}")
        self.index = index
        self.k = k
        self.mode = mode
        self.score_threshold = score_threshold
        self._filter = docrag_filter(filter)
        self._opened: Index | None = None
        super().__init__(callback_manager=callback_manager, verbose=verbose)

    @classmethod
    def from_index(
        cls,
        uri: str | os.PathLike[str] | None = None,
        *,
        settings: Settings | None = None,
        **options: Any,
    ) -> Self:
        """Open an index that is there.

        Args:
            uri: A directory, or a collection on a Qdrant server; else DOCRAG_INDEX, else ./docrag-index.
            settings: By default from the environment and docrag.toml.
            options: Of the retriever.

        Raises:
            StoreError: There is no index, or it cannot be opened.
        """
        return cls._over(Index.open(uri, create=False, settings=settings), options)

    @classmethod
    def from_folder(
        cls,
        path: str | os.PathLike[str],
        *,
        index: str | os.PathLike[str] | None = None,
        settings: Settings | None = None,
        **options: Any,
    ) -> Self:
        """Bring an index up to date with a folder (or file), and retrieve from it; `close` closes it.

        Args:
            path: A folder, a PDF or an image; what changed is read, and files that are gone are forgotten.
            index: Where the index is; by default one of its own for each path (`index_of`).
            settings: By default from the environment and docrag.toml.
            options: Of the retriever.

        Raises:
            NotFound: The path does not exist.
            DocumentError: Not one page can be read.
        """
        return cls._over(open_folder(path, index=index, settings=settings), options)

    @classmethod
    def _over(cls, index: Index, options: dict[str, Any]) -> Self:
        try:
            retriever = cls(index, **options)
        except BaseException:
            index.close()
            raise
        retriever._opened = index
        return retriever

    def close(self) -> None:
        """Let go of an index that the retriever opened itself."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._nodes(self.index.search(query_bundle.query_str, **self._wanted(query_bundle)))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._nodes(await self.index.asearch(query_bundle.query_str, **self._wanted(query_bundle)))

    def _wanted(self, query: QueryBundle) -> dict[str, Any]:
        return {"k": self.k, "mode": self.mode, "filter": self._filter, "image": query.image_path}

    def _nodes(self, hits: list[Hit]) -> list[NodeWithScore]:
        least = float("-inf") if self.score_threshold is None else self.score_threshold
        return [node_of(hit) for hit in hits if hit.score >= least]
