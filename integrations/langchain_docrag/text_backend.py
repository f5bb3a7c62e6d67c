"""The texts of a vector store's own: documents with ids of any kind."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from qdrant_client import models

from docrag.errors import IndexMismatch, StoreError
from docrag.location.directory import DirectoryLocation, IndexLocation
from docrag.store.base import Store
from docrag.store.layout import TEXTS, Fingerprint, Layout
from docrag.types import CAPTION, PageRecord, SparseVector, Vector
from langchain_docrag.embeddings import DocragEmbeddings
from langchain_docrag.filters import text_filter
from langchain_docrag.fingerprints import embeddings_of, require_same, told_of

_TIDY = 1_000
"""Texts replaced or removed until the directory is asked to give back their space."""

_NAMESPACE = uuid.UUID("0d0c7a9e-5c1d-5b44-9b1e-3a6c0f5b8e21")


class Texts:
    """Documents of a store's own; the place is made when the first one is written.

    Args:
        place: Where they are.
        told: What they were written with; None where there are none.
        embedding: Of LangChain; None takes the one they were written with, minilm for a new place.
        release: Called when the place is closed.
    """

    payload: tuple[str, ...] = ("id", "page_content", "metadata")

    def __init__(
        self,
        place: IndexLocation,
        told: Fingerprint | None,
        embedding: Embeddings | None,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self.uri = place.uri
        self.embedding = embedding or (embeddings_of(told) if told else DocragEmbeddings())
        self.dim = 0
        self._location = place
        self._release = release
        self._turn = threading.Lock()
        self._closed = False
        self._replaced = 0
        self._store = self._open(told) if told else None

    @classmethod
    def temporary(cls, embedding: Embeddings | None) -> Texts:
        """In a directory that goes with them."""
        folder = TemporaryDirectory(prefix="docrag-")
        return cls(DirectoryLocation(Path(folder.name)), None, embedding, folder.cleanup)

    def store(self) -> Store | None:
        """Where they are; None while nothing was ever written, here or by another process."""
        with self._turn:
            return self._found()

    def write(self, records: Sequence[PageRecord], *, new: bool) -> None:
        """Write points with vectors of one length; safe when this returns.

        Args:
            records: At least one.
            new: Whether none of them can be there already.
        """
        store = self._store_for(records[0].vectors[CAPTION])
        store.upsert(records)
        self._settle(store, 0 if new else len(records))

    def remove(self, point_ids: Sequence[str] | None) -> None:
        """Remove some points, or all where that is None; gone for good when this returns."""
        store = self.store()
        if store is None or (point_ids is not None and not point_ids):
            return
        some = models.HasIdCondition(has_id=list(point_ids or ()))
        store.delete(models.Filter(must=some if point_ids else None))
        self._settle(store, len(point_ids or ()))

    def point_id(self, id: str) -> str:
        """The point of any text: a uuid5, since Qdrant takes only UUIDs and numbers."""
        return str(uuid.uuid5(_NAMESPACE, id))

    def document(self, record: PageRecord) -> Document:
        """A text as it was given."""
        told = record.payload
        return Document(id=told["id"], page_content=told["page_content"], metadata=dict(told["metadata"]))

    def condition(self, filter: Mapping[str, Any]) -> models.Filter | None:
        """Texts whose metadata have these values."""
        return text_filter(filter)

    def close(self) -> None:
        """Let go of the place; twice is harmless."""
        with self._turn:
            if self._closed:
                return
            self._closed = True
            (self._store or self._location).close()
            self._release()

    def _settle(self, store: Store, replaced: int) -> None:
        """Let what was done survive a power cut, and now and then the space of what is gone come back."""
        store.flush()
        self._replaced += replaced
        if self._replaced >= _TIDY:
            self._replaced = 0
            store.optimize()

    def _store_for(self, vector: Vector) -> Store:
        """Where the points are, made for vectors as long as this one where it is not there yet.

        Raises:
            IndexMismatch: The vectors there are not as long.
        """
        assert not isinstance(vector, SparseVector)
        dim = len(vector)
        with self._turn:
            store = self._found()
            if store is None:
                told = Fingerprint({"layout": TEXTS, "text": {**told_of(self.embedding), "dim": dim}})
                store = self._store = self._location.make(told, Layout.for_texts(dim))
                self.dim = dim
        if dim != self.dim:
            raise IndexMismatch(
                f"{self.uri} holds vectors of {self.dim} numbers, the embeddings gave {dim}",
                "add with the embeddings that the store was filled with, or choose another place",
            )
        return store

    def _found(self) -> Store | None:
        if self._closed:
            raise StoreError(f"the vector store {self.uri} is closed", "open it again")
        if self._store is None and (told := self._location.fingerprint()):
            self._store = self._open(told)
        return self._store

    def _open(self, told: Fingerprint) -> Store:
        if told.values.get("layout") != TEXTS:
            raise IndexMismatch(f"{self.uri} has become an index of pages", "open it again")
        require_same(told, self.embedding)
        dim = told.values["text"]["dim"]
        store = self._location.open(told, Layout.for_texts(dim))
        self.dim = dim
        return store
