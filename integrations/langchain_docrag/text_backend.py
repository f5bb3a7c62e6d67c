"""The texts of a vector store: documents with ids of any kind, checked and written."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from docrag.errors import IndexMismatch, InvalidRecord, SettingsError, StoreError
from docrag.location.base import IndexLocation
from docrag.location.directory import DirectoryLocation
from docrag.store.base import Store
from docrag.store.layout import TEXTS, Fingerprint, Layout
from docrag.store.requests import HasId, PayloadFilter
from docrag.types import CAPTION, PageRecord
from langchain_docrag.embeddings import (
    DocragEmbeddings,
    describe_embeddings,
    open_embeddings,
    require_same_embeddings,
)
from langchain_docrag.filters import FLAGS, collect_flags, storable_metadata, text_filter

logger = logging.getLogger(__name__)

_OPTIMIZE_AFTER = 1_000
"""The number of texts replaced or removed after which the directory gives their space back."""

_NAMESPACE = uuid.UUID("0d0c7a9e-5c1d-5b44-9b1e-3a6c0f5b8e21")


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Texts to be written, each with its metadata and its id."""

    texts: list[str]
    metadatas: list[dict[str, Any]]
    ids: list[str]
    new: bool
    """Whether all ids were generated, so that no text replaces another."""

    @classmethod
    def checked(
        cls,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any]] | None,
        ids: Sequence[str | None] | None,
    ) -> TextBatch:
        """Check what is to be written, and generate the ids that are missing.

        Raises:
            SettingsError: The lists differ in length, or an id or a text is not a string.
            InvalidRecord: Metadata cannot be stored.
        """
        text_list = list_of_strings(texts, "texts")
        if ids is None:
            id_list = [str(uuid.uuid4()) for _ in text_list]
        else:
            _refuse_string(ids, "ids")
            id_list = list_of_strings([str(uuid.uuid4()) if id is None else id for id in ids], "ids")
        metadata_list = [{} for _ in text_list] if metadatas is None else list(metadatas)
        _require_one_for_each_text(len(text_list), len(metadata_list), "metadatas")
        _require_one_for_each_text(len(text_list), len(id_list), "ids")
        storable = [
            storable_metadata(metadata or {}, repr(id))
            for metadata, id in zip(metadata_list, id_list, strict=True)
        ]
        return cls(text_list, storable, id_list, new=ids is None)

    def require_vectors(self, vectors: Sequence[Sequence[float]]) -> None:
        """Refuse vectors that cannot be stored, before a collection is made for them.

        Raises:
            InvalidRecord: There is not one vector for each text, they differ in length, or one of them is
                empty or holds NaN or infinity.
        """
        lengths = {len(vector) for vector in vectors}
        if len(vectors) != len(self.texts) or len(lengths) != 1:
            numbers = " and ".join(map(str, sorted(lengths)))
            raise InvalidRecord(
                f"the embeddings gave {len(vectors)} vectors of {numbers} numbers for {len(self.texts)} texts"
            )
        for id, vector in zip(self.ids, vectors, strict=True):
            if not len(vector) or not np.isfinite(vector).all():
                raise InvalidRecord(f"the vector of {id!r} is empty, or holds NaN or infinity")


def list_of_strings(values: Iterable[str], argument: str) -> list[str]:
    """Check an argument that takes several strings.

    Raises:
        SettingsError: It is a single string, whose letters would be taken for strings; or an item is not a
            string, or cannot be written as UTF-8.
    """
    _refuse_string(values, argument)
    strings = list(values)
    for string in strings:
        if not isinstance(string, str):
            raise SettingsError(
                f"{argument}: {string!r} is not a string", f"give the {argument} as a list of strings"
            )
        try:
            string.encode()
        except UnicodeEncodeError as error:
            raise SettingsError(
                f"{argument}: {string!r} is not Unicode: {error.reason}", "remove the lone surrogates"
            ) from error
    return strings


class TextBackend:
    """Documents of a vector store; the collection is made when the first one is written.

    Args:
        location: Where the collection is, or is made.
        fingerprint: What the collection was written with; None if there is none yet.
        embedding: LangChain embeddings; None takes those that the collection was written with, and minilm
            for a new one.
        on_close: Called after the collection is closed.
    """

    payload: tuple[str, ...] = ("id", "page_content", "metadata")

    def __init__(
        self,
        location: IndexLocation,
        fingerprint: Fingerprint | None,
        embedding: Embeddings | None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        if embedding is None:
            embedding = open_embeddings(fingerprint) if fingerprint else DocragEmbeddings()
        self.uri = location.uri
        self.embedding = embedding
        self.dim = 0
        self._location = location
        self._on_close = on_close
        self._lock = threading.Lock()
        self._closed = False
        self._replaced = 0
        self._store = self._open(fingerprint) if fingerprint else None

    @classmethod
    def temporary(cls, embedding: Embeddings | None) -> TextBackend:
        """Keep the documents in a directory that is deleted when they are closed."""
        folder = TemporaryDirectory(prefix="docrag-")
        return cls(DirectoryLocation(Path(folder.name)), None, embedding, on_close=folder.cleanup)

    def store(self) -> Store | None:
        """The points; None until this or another process has written something."""
        with self._lock:
            return self._existing_store()

    def write(self, batch: TextBatch, vectors: Sequence[Sequence[float]]) -> list[str]:
        """Write texts with their vectors; of texts with the same id the last one stays.

        Returns:
            The ids, once all texts would survive a power cut.

        Raises:
            IndexMismatch: The vectors are not as long as the stored ones.
            InvalidRecord: A vector cannot be stored.
        """
        batch.require_vectors(vectors)
        records = {}
        for text, metadata, id, vector in zip(batch.texts, batch.metadatas, batch.ids, vectors, strict=True):
            payload = {"id": id, "page_content": text, "metadata": metadata}
            flags = collect_flags(metadata)
            if flags:
                payload[FLAGS] = flags
            records[id] = PageRecord(self.point_id(id), {CAPTION: np.array(vector, np.float32)}, payload)
        store = self._store_for(len(vectors[0]))
        store.upsert(list(records.values()))
        self._flush(store, 0 if batch.new else len(records))
        return batch.ids

    def remove(self, ids: Sequence[str]) -> None:
        """Remove the documents with these ids; this returns when the removal would survive a power cut."""
        store = self.store()
        if store is None or not ids:
            return
        point_ids = [self.point_id(id) for id in ids]
        store.delete(PayloadFilter(must=(HasId(tuple(point_ids)),)))
        self._flush(store, len(point_ids))

    def remove_all(self) -> None:
        """Remove every document; this returns when the removal would survive a power cut."""
        store = self.store()
        if store is None:
            return
        store.delete(PayloadFilter())
        self._flush(store, 0)

    def point_id(self, document_id: str) -> str:
        """The point of a document: a uuid5 of its id, since Qdrant takes only UUIDs and integers."""
        return str(uuid.uuid5(_NAMESPACE, document_id))

    def document(self, record: PageRecord) -> Document:
        """The document as it was given."""
        payload = record.payload
        return Document(
            id=payload["id"], page_content=payload["page_content"], metadata=dict(payload["metadata"])
        )

    def condition(self, filter: Mapping[str, Any]) -> PayloadFilter | None:
        """A filter by equal values, as `text_filter` takes it."""
        return text_filter(filter)

    def close(self) -> None:
        """Close the collection; calling this twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._store is None:
                self._location.close()
            else:
                self._store.close()
            self._on_close()

    def _flush(self, store: Store, replaced: int) -> None:
        """Make changes durable and, from time to time, give back the space of texts that were replaced."""
        store.flush()
        self._replaced += replaced
        if self._replaced >= _OPTIMIZE_AFTER:
            logger.info("%d texts of %s were replaced or removed: optimizing", self._replaced, self.uri)
            self._replaced = 0
            store.optimize()

    def _store_for(self, dim: int) -> Store:
        """The points, in a collection that is made for vectors of this length if there is none yet.

        Raises:
            IndexMismatch: The collection holds vectors of another length.
        """
        with self._lock:
            store = self._existing_store()
            if store is None:
                description = {**describe_embeddings(self.embedding), "dim": dim}
                fingerprint = Fingerprint({"layout": TEXTS, "text": description})
                store = self._location.make(fingerprint, Layout.for_texts(dim))
                logger.info("made a vector store at %s, for vectors of %d numbers", self.uri, dim)
                self._store = store
                self.dim = dim
        if dim != self.dim:
            raise IndexMismatch(
                f"{self.uri} holds vectors of {self.dim} numbers, the embeddings gave {dim}",
                "add with the embeddings that the store was filled with, or choose another address",
            )
        return store

    def _existing_store(self) -> Store | None:
        """The points if there are any; the lock is held."""
        if self._closed:
            raise StoreError(f"the vector store {self.uri} is closed", "open it again")
        if self._store is None:
            fingerprint = self._location.fingerprint()
            if fingerprint:
                self._store = self._open(fingerprint)
        return self._store

    def _open(self, fingerprint: Fingerprint) -> Store:
        if fingerprint.values.get("layout") != TEXTS:
            raise IndexMismatch(f"{self.uri} is an index of pages now", "open it again")
        require_same_embeddings(fingerprint, self.embedding)
        dim = fingerprint.values["text"]["dim"]
        store = self._location.open(fingerprint, Layout.for_texts(dim))
        self.dim = dim
        return store


def _refuse_string(values: Iterable[Any], argument: str) -> None:
    if isinstance(values, str | bytes):
        raise SettingsError(
            f"{argument}: {values!r} is a single string", f"give the {argument} as a list of strings"
        )


def _require_one_for_each_text(texts: int, values: int, argument: str) -> None:
    if values != texts:
        raise SettingsError(f"{texts} texts and {values} {argument}", "give one for each text")
