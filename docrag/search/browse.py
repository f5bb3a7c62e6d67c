"""What an index holds, without a query: its documents, and pages by their id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from docrag.store.base import Store
from docrag.store.images import PageImages
from docrag.store.payload import page_fields
from docrag.store.requests import FieldMatch, PayloadFilter
from docrag.types import IndexedDocument, IndexedPage, PageRecord, page_id

_DOCUMENT_ID = "metadata.document_id"


def documents(store: Store) -> list[IndexedDocument]:
    """Every document that has a page in the index, ordered by path."""
    page_counts = store.facet(_DOCUMENT_ID)
    first_pages = [page_id(document_id, 1) for document_id in page_counts]
    records = store.retrieve(first_pages, payload=["metadata"])
    metadata = {record.payload["metadata"]["document_id"]: record.payload["metadata"] for record in records}
    for document_id in page_counts.keys() - metadata.keys():
        # The first page could not be read. Any other page names the document as well.
        record = _any_page(store, document_id)
        if record is not None:
            metadata[document_id] = record.payload["metadata"]
    indexed = [_document(page, page_counts[document_id]) for document_id, page in metadata.items()]
    return sorted(indexed, key=lambda document: document.files)


def pages(store: Store, images: PageImages, ids: Sequence[str]) -> list[IndexedPage]:
    """Pages in the order of their ids; ids that are not in the store are skipped."""
    return [IndexedPage(**page_fields(record, images.root)) for record in store.retrieve(ids)]


def _any_page(store: Store, document_id: str) -> PageRecord | None:
    pages = PayloadFilter(must=(FieldMatch(_DOCUMENT_ID, (document_id,)),))
    return next(store.scroll(pages, payload=["metadata"]), None)


def _document(metadata: Mapping[str, Any], page_count: int) -> IndexedDocument:
    return IndexedDocument(
        id=metadata["document_id"],
        files=tuple(metadata["sources"]),
        title=metadata["title"],
        pages=page_count,
        total_pages=metadata["total_pages"],
    )
