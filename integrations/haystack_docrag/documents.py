"""Hits as Haystack's documents."""

from __future__ import annotations

from haystack import Document

from docrag.types import Hit


def document_of(hit: Hit) -> Document:
    """A page as a document.

    `file_path` is the path as ingested and `page_number` counts from 1, as DocumentToImageContent wants them.
    `image_path` is the page as docrag rendered it, absolute, or None where that file is gone; there is no
    `mime_type`, since the two paths would need different ones.
    """
    image = hit.image_path
    meta = {
        "file_path": hit.file,
        "page_number": hit.page,
        "file_name": hit.metadata["file_name"],
        "title": hit.metadata["title"],
        "page_label": hit.metadata["page_label"],
        "total_pages": hit.metadata["total_pages"],
        "document_id": hit.document_id,
        "image_path": str(image.absolute()) if image is not None and image.is_file() else None,
        "image_url": hit.image_url,
        "scores": dict(hit.scores),
        "regions": [
            {"box": list(region.box), "score": region.score, "text": region.text} for region in hit.regions
        ],
    }
    return Document(id=hit.page_id, content=hit.text, meta=meta, score=hit.score)
