"""DocragRetriever for LlamaIndex."""

from __future__ import annotations

import logging
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
from llama_index_docrag.filters import translate_llama_index_filter
from llama_index_docrag.nodes import page_node

logger = logging.getLogger(__name__)


class DocragRetriever(BaseRetriever):
    """Retrieves the pages that answer a question, as nodes with their images, best first.

    A query is words, an image (`QueryBundle(image_path=...)`, if an encoder of the index takes images), or
    both; `custom_embedding_strs` is ignored. If `from_index` or `from_folder` opened the index, `close` or
    the end of a `with` block closes it. An index that was passed in stays open.

    Args:
        index: An open index.
        k: The number of pages, 1 or more.
        mode: hybrid, late, cosine or text.
        filter: MetadataFilters, a mapping of metadata, or a condition of docrag.search.filters.
        score_threshold: Pages with a lower score are dropped; scores of different modes are not comparable.
        callback_manager: Notified of every retrieval.
        verbose: As in LlamaIndex.

    Raises:
        QueryError: k, the mode or the filter is invalid.
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
        self._filter = translate_llama_index_filter(filter)
        self._owned_index: Index | None = None
        super().__init__(callback_manager=callback_manager, verbose=verbose)

    @classmethod
    def from_index(
        cls,
        uri: str | os.PathLike[str] | None = None,
        *,
        settings: Settings | None = None,
        **options: Any,
    ) -> Self:
        """Open an existing index and retrieve from it; `close` closes it.

        Args:
            uri: A directory, or a collection on a Qdrant server. The default is DOCRAG_INDEX, then
                ./docrag-index.
            settings: By default from the environment and docrag.toml.
            options: Arguments of the constructor.

        Raises:
            StoreError: There is no index, or it cannot be opened.
        """
        return cls._owning(Index.open(uri, create=False, settings=settings), options)

    @classmethod
    def from_folder(
        cls,
        path: str | os.PathLike[str],
        *,
        index: str | os.PathLike[str] | None = None,
        settings: Settings | None = None,
        **options: Any,
    ) -> Self:
        """Bring an index up to date with a folder or a file, and retrieve from it; `close` closes it.

        Args:
            path: A folder, a PDF or an image. Files that changed are read, and the pages of files that no
                longer exist are removed.
            index: Where the index is kept; by default each path has an index of its own
                (`docrag.operations.follow.index_of`).
            settings: By default from the environment and docrag.toml.
            options: Arguments of the constructor.

        Raises:
            NotFound: The path does not exist.
            DocumentError: No page can be read.
        """
        opened = open_folder(path, index=index, settings=settings)
        logger.info("the index is up to date with %s", path)
        return cls._owning(opened, options)

    @classmethod
    def _owning(cls, index: Index, options: dict[str, Any]) -> Self:
        """A retriever that closes its index."""
        try:
            retriever = cls(index, **options)
        except BaseException:
            index.close()
            raise
        retriever._owned_index = index
        return retriever

    def close(self) -> None:
        """Close the index if the retriever opened it itself."""
        if self._owned_index is not None:
            self._owned_index.close()
            self._owned_index = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        arguments = self._search_arguments(query_bundle)
        return self._nodes(self.index.search(query_bundle.query_str, **arguments))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        arguments = self._search_arguments(query_bundle)
        return self._nodes(await self.index.asearch(query_bundle.query_str, **arguments))

    def _search_arguments(self, query: QueryBundle) -> dict[str, Any]:
        return {"k": self.k, "mode": self.mode, "filter": self._filter, "image": query.image_path}

    def _nodes(self, hits: list[Hit]) -> list[NodeWithScore]:
        if self.score_threshold is None:
            return [page_node(hit) for hit in hits]
        good_hits = [hit for hit in hits if hit.score >= self.score_threshold]
        logger.debug("%d of %d pages reach the score threshold", len(good_hits), len(hits))
        return [page_node(hit) for hit in good_hits]
