"""What a vector store looks through: texts of its own, or the pages of an index."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from qdrant_client import models

from docrag import Index
from docrag.errors import SettingsError
from docrag.location.directory import locate
from docrag.store.base import Store
from docrag.store.layout import TEXTS
from docrag.types import PageRecord
from langchain_docrag.pages import open_pages, shared_pages
from langchain_docrag.text_backend import Texts

if TYPE_CHECKING:
    from docrag.settings import Settings

TEMPORARY = ":memory:"
"""The place that is gone when the store is closed."""


class Points(Protocol):
    """The points behind a vector store."""

    uri: str
    embedding: Embeddings
    dim: int
    """Numbers of a vector; 0 while nothing was ever written."""
    payload: tuple[str, ...]
    """What of a point a document is made of."""

    def store(self) -> Store | None:
        """Where they are; None while nothing was ever written."""
        ...

    def point_id(self, id: str) -> str | None:
        """The point that has the document with this id; None where none can have it."""
        ...

    def document(self, record: PageRecord) -> Document:
        """A point as a document."""
        ...

    def condition(self, filter: Mapping[str, Any]) -> models.Filter | None:
        """The points whose metadata are like that."""
        ...

    def close(self) -> None:
        """Let go of them."""
        ...


def open_points(
    where: str | os.PathLike[str] | Index, embedding: Embeddings | None, settings: Settings
) -> Points:
    """The points at a place: those of pages where it is an index, else texts, which need not be there yet.

    Raises:
        SettingsError: The one is no place, or the other no embeddings.
        IndexMismatch: They were written with other embeddings.
        IndexInUse: Another process holds them.
    """
    if embedding is not None and not hasattr(embedding, "embed_documents"):
        hint = "give one of LangChain, such as DocragEmbeddings('minilm')"
        raise SettingsError(f"{embedding!r} is no embedding", hint)
    if isinstance(where, Index):
        return shared_pages(where, embedding)
    if where == TEMPORARY:
        return Texts.temporary(embedding)
    if not isinstance(where, str | os.PathLike):
        hint = "the place comes first, a directory or an address; embeddings come second, or as embedding="
        raise SettingsError(f"{where!r} is no place for a vector store", hint)
    place = locate(settings.model_copy(update={"index": os.fspath(where)}))
    try:
        told = place.fingerprint()
        if told and told.values.get("layout") != TEXTS:
            return open_pages(place, told, embedding)
        return Texts(place, told, embedding)
    except BaseException:
        place.close()
        raise
