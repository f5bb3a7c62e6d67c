"""The pages of an index, as a vector store reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from qdrant_client import models

from docrag import Index
from docrag.index.opening import layout_of
from docrag.location.base import IndexLocation
from docrag.search.browse import page_fields
from docrag.search.filters import metadata_filter
from docrag.store.base import Store
from docrag.store.images import PageImages
from docrag.store.layout import Fingerprint
from docrag.types import IndexedPage, PageRecord, is_page_id
from langchain_docrag.documents import page_document
from langchain_docrag.embeddings import DocragEmbeddings
from langchain_docrag.fingerprints import embeddings_of, require_same


class Pages:
    """The pages of an index, by the vectors of their captions; they are read and never written.

    Args:
        uri: Of the index.
        store: Its points.
        images: Its pictures.
        embedding: The model of the captions.
        dim: Of its vectors.
        close: Lets go of the index; nothing where it is somebody else's.
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

    def store(self) -> Store:
        """Where they are."""
        return self._store

    def point_id(self, id: str) -> str | None:
        """The page itself, where the text can be the id of one."""
        return id if is_page_id(id) else None

    def document(self, record: PageRecord) -> Document:
        """A page as the retriever gives it, without what only a hit has."""
        return page_document(IndexedPage(**page_fields(record, self._images)))

    def condition(self, filter: Mapping[str, Any]) -> models.Filter | None:
        """Pages by the filter that `Index.search` takes: their numbers count from 1."""
        return metadata_filter(filter)


def shared_pages(index: Index, embedding: Embeddings | None) -> Pages:
    """The pages of an index that somebody else opened, and closes: a directory cannot be opened twice."""
    # These are no part of what an Index shows to people, who would write to the store behind its manifest.
    place, storage, text = index._location, index._storage, index._encoders.text
    require_same(Fingerprint(index.fingerprint), embedding)
    return Pages(
        place.uri,
        storage.store,
        storage.images,
        embedding or DocragEmbeddings(text),
        text.spec.dim,
        lambda: None,
    )


def open_pages(place: IndexLocation, told: Fingerprint, embedding: Embeddings | None) -> Pages:
    """The pages of an index, without its other models."""
    require_same(told, embedding)
    chosen = embedding or embeddings_of(told)
    store = place.open(told, layout_of(told))
    images = PageImages(place.folder / "images")
    return Pages(place.uri, store, images, chosen, told.values["text"]["dim"], store.close)
