"""DocragVectorStore: a LangChain vector store on Qdrant, for texts or for the pages of an index."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from docrag.errors import SettingsError, StoreError
from docrag.settings import load_settings
from langchain_docrag.backend import TEMPORARY, open_backend
from langchain_docrag.similarity import MetadataFilter, diverse, nearest
from langchain_docrag.text_backend import TextBackend, TextBatch, list_of_strings

if TYPE_CHECKING:
    from docrag import Index
    from docrag.settings import Settings

ScoredDocuments = list[tuple[Document, float]]


class DocragVectorStore(VectorStore):
    """Documents with one vector each, in a directory or on a Qdrant server.

    A store of its own holds texts, which can be added, replaced and deleted; metadata and ids are returned as
    they were given. An index made by `docrag ingest` can be opened too: its pages are found by the vectors
    of their captions and texts, with the index's own model, and only ingest and remove change them. For
    questions about pages `DocragRetriever` is better; use this where a vector store is required.

    Args:
        uri: A directory, a collection such as http://localhost:6333/notes, or ":memory:" for a store that is
            deleted when it is closed; or an open `Index`, which stays open.
        embedding: Any LangChain embeddings. The default is what the store was filled with, and minilm for a
            new store.
        settings: The server's API key and other settings; by default from the environment and docrag.toml.

    Raises:
        IndexMismatch: The store was filled with other embeddings.
        IndexInUse: Another process holds the directory without sharing it (`in_process`).
        SettingsError: The address is invalid.

    >>> from langchain_docrag import DocragVectorStore
    >>> with DocragVectorStore() as store:
    ...     ids = store.add_texts(["The ferry leaves at nine.", "A pendulum swings."], ids=["1", "2"])
    ...     print(store.similarity_search("When does the boat go?", k=1)[0].id)
    1
    """

    def __init__(
        self,
        uri: str | os.PathLike[str] | Index = TEMPORARY,
        embedding: Embeddings | None = None,
        *,
        settings: Settings | None = None,
    ) -> None:
        self._backend = open_backend(uri, embedding, settings or load_settings())

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        uri: str | os.PathLike[str] = TEMPORARY,
        settings: Settings | None = None,
        **kwargs: Any,
    ) -> Self:
        """Open a store and add texts to what it holds; the arguments are those of both steps."""
        _refuse_unknown(kwargs)
        store = cls(uri, embedding, settings=settings)
        try:
            store.add_texts(texts, metadatas, ids=ids)
        except BaseException:
            store.close()
            raise
        return store

    @property
    def embeddings(self) -> Embeddings:
        """The embeddings of the store."""
        return self._backend.embedding

    @property
    def uri(self) -> str:
        """The address of the documents."""
        return self._backend.uri

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Write texts, replacing those with the same ids; this returns when all of them are durable.

        Args:
            texts: The texts.
            metadatas: The metadata of each text: JSON, nested to any depth.
            ids: The id of each text, any string. An id that is None is generated, as all of them are by
                default.
            kwargs: `batch_size`, which LangChain's indexing passes, has no effect: all texts are written
                together.

        Returns:
            The ids, in the order of the texts.

        Raises:
            SettingsError: The lists differ in length, or an id is not a string.
            StoreError: The store is closed, or its documents are the pages of an index, which are read-only
                here.
            IndexMismatch: The embeddings give vectors of another length than before.
            InvalidRecord: Metadata cannot be stored; none of the texts is written.
        """
        backend = self._writable_backend(kwargs)
        batch = TextBatch.checked(texts, metadatas, ids)
        if not batch.texts:
            return []
        return backend.write(batch, self.embeddings.embed_documents(batch.texts))

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Like add_texts, with the embeddings' own coroutine; the texts are written in a thread."""
        backend = self._writable_backend(kwargs)
        batch = TextBatch.checked(texts, metadatas, ids)
        if not batch.texts:
            return []
        vectors = await self.embeddings.aembed_documents(batch.texts)
        return await asyncio.to_thread(backend.write, batch, vectors)

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Remove texts; an unknown id is not an error.

        Args:
            ids: The ids of the texts; None removes all of them, as LangChain specifies.
            kwargs: Refused.

        Returns:
            True, when the removal is durable.

        Raises:
            StoreError: The store is closed, or its documents are the pages of an index, which are read-only
                here.
        """
        backend = self._writable_backend(kwargs)
        if ids is None:
            backend.remove_all()
        else:
            backend.remove(list_of_strings(ids, "ids"))
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents with these ids, in the order of the ids; unknown ids are skipped.

        Raises:
            StoreError: The store is closed.
        """
        backend = self._backend
        store = backend.store()
        point_ids = [backend.point_id(id) for id in list_of_strings(ids, "ids")]
        valid = [point_id for point_id in dict.fromkeys(point_ids) if point_id is not None]
        if store is None or not valid:
            return []
        return [backend.document(record) for record in store.retrieve(valid, payload=backend.payload)]

    def similarity_search(
        self, query: str, k: int = 4, filter: MetadataFilter | None = None, **kwargs: Any
    ) -> list[Document]:
        """Find the documents nearest to a query, best first.

        Args:
            query: A question or some words.
            k: The number of documents, 1 or more.
            filter: Values that the metadata must have, all of them. A list means any of its values, and a
                mapping filters a nested mapping. The pages of an index take the filter of `Index.search`.
            kwargs: Refused.

        Raises:
            QueryError: k or the filter is invalid.
            IndexMismatch: The embeddings give vectors of another length than the stored ones.
        """
        return _without_scores(self.similarity_search_with_score(query, k, filter, **kwargs))

    async def asimilarity_search(
        self, query: str, k: int = 4, filter: MetadataFilter | None = None, **kwargs: Any
    ) -> list[Document]:
        """Like similarity_search, with the embeddings' own coroutine."""
        return _without_scores(await self.asimilarity_search_with_score(query, k, filter, **kwargs))

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: MetadataFilter | None = None, **kwargs: Any
    ) -> ScoredDocuments:
        """Like similarity_search, with the cosine of each document, -1..1."""
        _refuse_unknown(kwargs)
        return nearest(self._backend, self.embeddings.embed_query(query), k, filter)

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: MetadataFilter | None = None, **kwargs: Any
    ) -> ScoredDocuments:
        """Like similarity_search_with_score, with the embeddings' own coroutine."""
        _refuse_unknown(kwargs)
        vector = await self.embeddings.aembed_query(query)
        return await asyncio.to_thread(nearest, self._backend, vector, k, filter)

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: MetadataFilter | None = None, **kwargs: Any
    ) -> list[Document]:
        """Like similarity_search, for a vector."""
        _refuse_unknown(kwargs)
        return _without_scores(nearest(self._backend, embedding, k, filter))

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Find documents that are near to a query and differ from each other.

        Args:
            query: A question or some words.
            k: The number of documents, 1 or more.
            fetch_k: The number of nearest documents that they are chosen from.
            lambda_mult: 1 for the nearest documents, 0 for those that differ most.
            kwargs: `filter`, as for similarity_search.

        Raises:
            QueryError: A number or the filter is invalid.
        """
        vector = self.embeddings.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, **kwargs)

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Like max_marginal_relevance_search, with the embeddings' own coroutine."""
        vector = await self.embeddings.aembed_query(query)
        search = self.max_marginal_relevance_search_by_vector
        return await asyncio.to_thread(search, vector, k, fetch_k, lambda_mult, **kwargs)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Like max_marginal_relevance_search, for a vector."""
        filter = kwargs.pop("filter", None)
        _refuse_unknown(kwargs)
        return diverse(self._backend, embedding, k, fetch_k, lambda_mult, filter)

    def close(self) -> None:
        """Close the store; calling this twice is harmless, and other stores in its place stay open."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return relevance

    def _writable_backend(self, kwargs: dict[str, Any]) -> TextBackend:
        """The backend, if it can be written to; of other arguments only `batch_size` is accepted."""
        _refuse_unknown({name: value for name, value in kwargs.items() if name != "batch_size"})
        if isinstance(self._backend, TextBackend):
            return self._backend
        raise StoreError(
            f"{self.uri} is an index of pages, which a vector store only reads",
            "use Index.ingest and Index.remove, or keep texts in a vector store at another address",
        )


def relevance(cosine: float) -> float:
    """Scale a cosine to LangChain's relevance, 0..1, where 0.5 means unrelated.

    >>> relevance(1.0), relevance(0.0), relevance(-1.0000001)
    (1.0, 0.5, 0.0)
    """
    return min(1.0, max(0.0, (1 + cosine) / 2))


def _without_scores(scored: ScoredDocuments) -> list[Document]:
    return [document for document, _ in scored]


def _refuse_unknown(kwargs: dict[str, Any]) -> None:
    """Refuse arguments that would have no effect."""
    if kwargs:
        raise SettingsError(
            f"DocragVectorStore has no argument {', '.join(sorted(kwargs))} here", "leave it out"
        )
