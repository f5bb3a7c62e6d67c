"""LangChain's vector store on Qdrant: texts with ids of any kind, or pages by their captions."""

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
from langchain_docrag.backend import TEMPORARY, open_points
from langchain_docrag.similarity import Filter, nearest, varied
from langchain_docrag.text_backend import Texts
from langchain_docrag.writing import batch_of, listed_texts, write

if TYPE_CHECKING:
    from docrag import Index
    from docrag.settings import Settings

Scored = list[tuple[Document, float]]


class DocragVectorStore(VectorStore):
    """Documents by one vector each, in a directory or on a Qdrant server.

    A place of its own holds texts, which can be added, replaced and deleted; metadata and ids come back as
    they were given. An index that `docrag ingest` made can be opened too: its pages are found by the vectors
    of their captions and texts, by the index's own model, and only ingest and remove change them. For
    questions about pages `DocragRetriever` is better; this is for whatever wants a vector store.

    Args:
        uri: A directory, a collection such as http://localhost:6333/notes, or ":memory:" for a place that is
            gone when the store is closed; or an `Index` that is open already, and stays open.
        embedding: Any of LangChain; by default the one that the place was filled with, minilm for a new one.
        settings: The server's key and what else can be set; by default from the environment and docrag.toml.

    Raises:
        IndexMismatch: The place was filled with other embeddings.
        IndexInUse: Another process holds the directory.
        SettingsError: The address cannot be used.

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
        self._points = open_points(uri, embedding, settings or load_settings())

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
        """A store with these texts, beside those that are there already; arguments as for both."""
        _refuse(kwargs)
        store = cls(uri, embedding, settings=settings)
        try:
            store.add_texts(texts, metadatas, ids=ids)
        except BaseException:
            store.close()
            raise
        return store

    @property
    def embeddings(self) -> Embeddings:
        """What turns texts into vectors."""
        return self._points.embedding

    @property
    def uri(self) -> str:
        """Where the documents are."""
        return self._points.uri

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Write texts; one whose id is there already is replaced. All are safe when this returns.

        Args:
            texts: Texts.
            metadatas: Of each text: JSON, as deep as it likes.
            ids: Of each text: any text. Those that are None are made, and all where none are given.
            kwargs: `batch_size`, as LangChain's indexing gives it, changes nothing: all go together.

        Returns:
            The ids, in the order of the texts.

        Raises:
            SettingsError: The lists are not of one length, or an id is no text.
            StoreError: These are pages of an index, which are not written here, or the store is closed.
            IndexMismatch: The embeddings give vectors of another length than before.
            InvalidRecord: Metadata cannot be kept; none of the texts is written.
        """
        points, batch = self._texts(kwargs), batch_of(texts, metadatas, ids)
        return write(points, batch, self.embeddings.embed_documents(batch.texts)) if batch.texts else []

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """The same as add_texts, by the embeddings' own coroutine, and a thread for the writing."""
        points, batch = self._texts(kwargs), batch_of(texts, metadatas, ids)
        if not batch.texts:
            return []
        vectors = await self.embeddings.aembed_documents(batch.texts)
        return await asyncio.to_thread(write, points, batch, vectors)

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Remove texts; ids that are not there are no error.

        Args:
            ids: Of the texts; None removes all of them, as LangChain has it.
            kwargs: None is known.

        Returns:
            True, once the removal survives a power cut.

        Raises:
            StoreError: These are pages of an index, which are not removed here, or the store is closed.
        """
        points = self._texts(kwargs)
        points.remove(None if ids is None else [points.point_id(id) for id in listed_texts(ids, "ids")])
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents with these ids, in their order; those that are not there are left out.

        Raises:
            StoreError: The store is closed.
        """
        points = self._points
        store = points.store()
        wanted = dict.fromkeys(filter(None, map(points.point_id, listed_texts(ids, "ids"))))
        found = store.retrieve(list(wanted), payload=points.payload) if store and wanted else []
        return [points.document(record) for record in found]

    def similarity_search(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        """The documents nearest to a query, best first.

        Args:
            query: A question or some words.
            k: How many, 1 or more.
            filter: Values that the metadata must have, all of them: a list means any of its values, a mapping
                looks into a mapping. For the pages of an index, the filter that `Index.search` takes.
            kwargs: None is known.

        Raises:
            QueryError: k or the filter cannot be used.
            IndexMismatch: The embeddings give vectors of another length than the store has.
        """
        return _documents(self.similarity_search_with_score(query, k, filter, **kwargs))

    async def asimilarity_search(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        """The same as similarity_search, by the embeddings' own coroutine."""
        return _documents(await self.asimilarity_search_with_score(query, k, filter, **kwargs))

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> Scored:
        """The same as similarity_search, with the cosine of each, -1..1."""
        _refuse(kwargs)
        return nearest(self._points, self.embeddings.embed_query(query), k, filter)

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> Scored:
        """The same as similarity_search_with_score, by the embeddings' own coroutine."""
        _refuse(kwargs)
        vector = await self.embeddings.aembed_query(query)
        return await asyncio.to_thread(nearest, self._points, vector, k, filter)

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        """The same as similarity_search, by a vector."""
        _refuse(kwargs)
        return _documents(nearest(self._points, embedding, k, filter))

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Documents near to a query and not too near to each other.

        Args:
            query: A question or some words.
            k: How many, 1 or more.
            fetch_k: How many of the nearest they are chosen from.
            lambda_mult: 1 for the nearest ones, 0 for those that differ most.
            kwargs: `filter`, as for similarity_search.

        Raises:
            QueryError: A number or the filter cannot be used.
        """
        vector = self.embeddings.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, **kwargs)

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """The same as max_marginal_relevance_search, by the embeddings' own coroutine."""
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
        """The same as max_marginal_relevance_search, by a vector."""
        filter = kwargs.pop("filter", None)
        _refuse(kwargs)
        return varied(self._points, embedding, k, fetch_k, lambda_mult, filter)

    def close(self) -> None:
        """Let go of the place, so that another process can open it; twice is harmless."""
        self._points.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return relevance

    def _texts(self, kwargs: dict[str, Any]) -> Texts:
        """The points, if they are written here."""
        _refuse({name: value for name, value in kwargs.items() if name != "batch_size"})
        if isinstance(self._points, Texts):
            return self._points
        raise StoreError(
            f"{self.uri} is an index of pages, which a vector store only reads",
            "use Index.ingest and Index.remove, or keep texts in a vector store at another place",
        )


def relevance(cosine: float) -> float:
    """A cosine as LangChain's relevance, 0..1, of which 0.5 means unrelated.

    >>> relevance(1.0), relevance(0.0), relevance(-1.0000001)
    (1.0, 0.5, 0.0)
    """
    return min(1.0, max(0.0, (1 + cosine) / 2))


def _documents(scored: Scored) -> list[Document]:
    return [document for document, _ in scored]


def _refuse(kwargs: dict[str, Any]) -> None:
    """Refuse arguments that would do nothing."""
    if kwargs:
        raise SettingsError(f"a DocragVectorStore knows no {', '.join(sorted(kwargs))} here", "leave it out")
