"""Pages as LangChain's documents."""

from __future__ import annotations

import base64
from typing import Any

from langchain_core.documents import Document

from docrag.errors import DocumentError
from docrag.types import Hit, IndexedPage

MIME_TYPE = "image/jpeg"
IMAGE = "image_base64"
"""Key of the metadata that holds the page image where it was asked for."""


def page_document(page: IndexedPage, *, neighbour_of: str = "", include_image: bool = False) -> Document:
    """A page as a document: its caption and text, and metadata that can be written as JSON.

    Args:
        page: A hit, or a page beside one.
        neighbour_of: Id of the hit that the page stands beside; it has no rank, score or regions itself.
        include_image: Whether the page image goes into the metadata, as base64.

    Returns:
        Metadata has the keys of PyMuPDFLoader (source, file_path, page from 0, total_pages, title), those of
        the index (page_label, file_name, document_id, width and height in points...), `image_path` and
        `image_url`; of a hit also `rank`, `score`, `scores` and `regions`, of a neighbour `neighbour_of`.

    Raises:
        DocumentError: The image is wanted and no longer beside the index.
    """
    metadata = {
        **page.metadata,
        "file_path": page.file,
        "image_path": str(page.image_path or ""),
        "image_url": page.image_url,
        "mime_type": MIME_TYPE,
    }
    if isinstance(page, Hit):
        metadata |= _match(page)
    if neighbour_of:
        metadata["neighbour_of"] = neighbour_of
    if include_image:
        metadata[IMAGE] = base64.b64encode(_jpeg(page)).decode()
    return Document(id=page.page_id, page_content=page.text, metadata=metadata)


def _match(hit: Hit) -> dict[str, Any]:
    return {
        "rank": hit.rank,
        "score": hit.score,
        "scores": dict(hit.scores),
        "regions": [
            {"box": list(region.box), "score": region.score, "text": region.text} for region in hit.regions
        ],
    }


def _jpeg(page: IndexedPage) -> bytes:
    try:
        return page.image_path.read_bytes() if page.image_path else b""
    except FileNotFoundError as error:
        hint = "ingest the file again, or leave out include_images"
        raise DocumentError(f"no image of {page.file}, page {page.page}", hint) from error
