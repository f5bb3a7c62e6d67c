"""What an index holds, without a query: its documents, and pages by their id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from qdrant_client import models

from docrag.store.base import Store
from docrag.store.images import PageImages
from docrag.store.payload import blocks_of
from docrag.types import IndexedDocument, IndexedPage, PageRecord, page_id

_DOCUMENT = "metadata.document_id"


def documents(store: Store) -> list[IndexedDocument]:
    """Every document that has a page in the index, by path."""
    counts = store.facet(_DOCUMENT)
    first = [page_id(document_id, 1) for document_id in counts]
    firsts = store.retrieve(first, payload=["metadata"])
    told = {record.payload["metadata"]["document_id"]: record for record in firsts}
    for document_id in counts.keys() - told.keys():  # its first page was lost: any other tells the same
        told.update((document_id, record) for record in _any_page(store, document_id))
    found = [_document(record, counts[name]) for name, record in told.items()]
    return sorted(found, key=lambda document: document.files)


def pages(store: Store, images: PageImages, ids: Sequence[str]) -> list[IndexedPage]:
    """Pages in the order of their ids, those that are not there left out."""
    return [IndexedPage(**page_fields(record, images)) for record in store.retrieve(ids)]


def page_fields(record: PageRecord, images: PageImages) -> dict[str, Any]:
    """What a page and a hit have in common."""
    payload = record.payload
    metadata = payload["metadata"]
    number = metadata["page"] + 1
    return {
        "file": metadata["source"],
        "page": number,
        "page_id": record.id,
        "text": payload["page_content"],
        "blocks": blocks_of(payload),
        "metadata": metadata,
        "image_path": images.path(metadata["document_id"], number),
        "image_url": payload.get("image_url", ""),
    }


def _any_page(store: Store, document_id: str) -> Iterator[PageRecord]:
    match = models.FieldCondition(key=_DOCUMENT, match=models.MatchValue(value=document_id))
    return islice(store.scroll(models.Filter(must=[match]), payload=["metadata"]), 1)


def _document(record: PageRecord, pages: int) -> IndexedDocument:
    metadata = record.payload["metadata"]
    return IndexedDocument(
        id=metadata["document_id"],
        files=tuple(metadata["sources"]),
        title=metadata["title"],
        pages=pages,
        total_pages=metadata["total_pages"],
    )
