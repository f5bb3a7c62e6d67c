"""Hits as Haystack documents."""

from __future__ import annotations

from haystack import Document

from docrag.types import Hit


def hit_document(hit: Hit) -> Document:
    """Turn a hit into a document.

    `file_path` is the path as ingested, and `page_number` counts from 1: DocumentToImageContent reads both.
    `image_path` is the absolute path of the page as docrag rendered it, or None if there is no image on this
    machine. There is no `mime_type`, since the two paths would need different ones.
    """
    image_path = hit.image_file_or_none()
    meta = {
        "file_path": hit.file,
        "page_number": hit.page,
        "file_name": hit.metadata["file_name"],
        "title": hit.metadata["title"],
        "page_label": hit.metadata["page_label"],
        "total_pages": hit.metadata["total_pages"],
        "document_id": hit.document_id,
        "image_path": None if image_path is None else str(image_path.absolute()),
        "image_url": hit.image_url,
        "scores": dict(hit.scores),
        "regions": [region.as_json() for region in hit.regions],
    }
    return Document(id=hit.page_id, content=hit.text, meta=meta, score=hit.score)
