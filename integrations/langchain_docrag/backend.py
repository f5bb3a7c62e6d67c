"""What a DocragVectorStore reads: texts of its own (text_backend.py), or the pages of an index."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from docrag import Index
from docrag.errors import SettingsError
from docrag.index.opening import layout_of
from docrag.location.resolve import locate
from docrag.search.filters import metadata_filter
from docrag.store.images import PageImages
from docrag.store.layout import TEXTS, Fingerprint
from docrag.store.payload import page_fields
from docrag.types import IndexedPage, PageRecord, is_page_id
from langchain_docrag.documents import page_document
from langchain_docrag.embeddings import DocragEmbeddings, open_embeddings, require_same_embeddings
from langchain_docrag.text_backend import TextBackend

if TYPE_CHECKING:
    from docrag.location.base import IndexLocation
    from docrag.settings import Settings
    from docrag.store.base import Store
    from docrag.store.requests import PayloadFilter

logger = logging.getLogger(__name__)

TEMPORARY = ":memory:"
"""The address of a vector store that is deleted when it is closed."""


class VectorStoreBackend(Protocol):
    """The points behind a vector store."""

    uri: str
    embedding: Embeddings
    dim: int
    """The length of a vector; 0 until something has been written."""
    payload: tuple[str, ...]
    """The payload fields that a document is made of."""

    def store(self) -> Store | None:
        """The points; None until something has been written."""
        ...

    def point_id(self, document_id: str) -> str | None:
        """The point of the document with this id; None if no document can have such an id."""
        ...

    def document(self, record: PageRecord) -> Document:
        """A point as a document."""
        ...

    def condition(self, filter: Mapping[str, Any]) -> PayloadFilter | None:
        """A filter on metadata as the store takes it."""
        ...

    def close(self) -> None:
        """Close the points, if they are not shared with an open index."""
        ...


class PageBackend:
    """The pages of an index, by the vectors of their captions; they are read and never written.

    Args:
        uri: The address of the index.
        store: The points of the index.
        images: The page images of the index.
        embedding: The model of the captions.
        dim: The length of its vectors.
        close: Closes the points; it does nothing if they belong to an open index.
    """

    payload: tuple[str, ...] = ("page_content", "metadata", "image_url", "layout.blocks")

    def __init__(
        self,
        uri: str,
        store: Store,
        images: PageImages,
        embedding: Embeddings,
        dim: int,
        close: Callable[[], None],
    ) -> None:
        self.uri = uri
        self.embedding = embedding
        self.dim = dim
        self.close = close
        self._store = store
        self._images = images

    @classmethod
    def sharing(cls, index: Index, embedding: Embeddings | None) -> PageBackend:
        """Read the pages of an open index, which stays open, with the text encoder that it has loaded."""
        require_same_embeddings(Fingerprint(index.fingerprint), embedding)
        # These are private to Index: a user who wrote to the store would bypass the manifest.
        storage = index._storage
        text_encoder = index._encoders.text
        return cls(
            index._location.uri,
            storage.store,
            storage.images,
            embedding or DocragEmbeddings(text_encoder),
            text_encoder.spec.dim,
            close=lambda: None,
        )

    @classmethod
    def open(
        cls, location: IndexLocation, fingerprint: Fingerprint, embedding: Embeddings | None
    ) -> PageBackend:
        """Open the pages of an index without its other models."""
        require_same_embeddings(fingerprint, embedding)
        embedding = embedding or open_embeddings(fingerprint)
        store = location.open(fingerprint, layout_of(fingerprint))
        images = PageImages(location.folder / "images")
        dim = fingerprint.values["text"]["dim"]
        return cls(location.uri, store, images, embedding, dim, store.close)

    def store(self) -> Store:
        """The points of the index."""
        return self._store

    def point_id(self, document_id: str) -> str | None:
        """The id itself, if it can be the id of a page."""
        return document_id if is_page_id(document_id) else None

    def document(self, record: PageRecord) -> Document:
        """A page as the retriever returns it, without what only a hit has."""
        return page_document(IndexedPage(**page_fields(record, self._images.root)))

    def condition(self, filter: Mapping[str, Any]) -> PayloadFilter | None:
        """The filter that `Index.search` takes, in which page numbers count from 1."""
        return metadata_filter(filter)


def open_backend(
    uri: str | os.PathLike[str] | Index, embedding: Embeddings | None, settings: Settings
) -> VectorStoreBackend:
    """Open the pages at an address if there is an index, or else the texts, which need not exist yet.

    Raises:
        SettingsError: The address or the embeddings are invalid.
        IndexMismatch: The points were written with other embeddings.
        IndexInUse: Another process holds the directory without sharing it (`in_process`).
    """
    if embedding is not None and not hasattr(embedding, "embed_documents"):
        hint = "give LangChain embeddings, such as DocragEmbeddings('minilm')"
        raise SettingsError(f"{embedding!r} is not LangChain embeddings", hint)
    if isinstance(uri, Index):
        return PageBackend.sharing(uri, embedding)
    if uri == TEMPORARY:
        return TextBackend.temporary(embedding)
    if not isinstance(uri, str | os.PathLike):
        hint = "the first argument is a directory or an address; embeddings are the second, or embedding="
        raise SettingsError(f"{uri!r} is not the address of a vector store", hint)
    location = locate(settings.model_copy(update={"index": os.fspath(uri)}))
    try:
        location.recover()
        fingerprint = location.fingerprint()
        if fingerprint and fingerprint.values.get("layout") != TEXTS:
            logger.info("%s is an index of pages, which the vector store only reads", location.uri)
            return PageBackend.open(location, fingerprint, embedding)
        return TextBackend(location, fingerprint, embedding)
    except BaseException:
        location.close()
        raise
