"""Pages as LangChain documents."""

from __future__ import annotations

import base64
from typing import Any

from langchain_core.documents import Document

from docrag.errors import DocumentError
from docrag.types import Hit, IndexedPage

MIME_TYPE = "image/jpeg"
IMAGE_KEY = "image_base64"
"""The metadata key of the page image, where the image was asked for."""


def page_document(page: IndexedPage, *, neighbour_of: str = "", include_image: bool = False) -> Document:
    """Turn a page into a document: its caption and text, with metadata that can be written as JSON.

    Args:
        page: A hit, or a neighbour of one.
        neighbour_of: The id of the hit that the page is a neighbour of. A neighbour has no rank, score or
            regions.
        include_image: Whether the page image goes into the metadata, as base64.

    Returns:
        The metadata has the keys of PyMuPDFLoader (source, file_path, page from 0, total_pages, title), those
        of the index (page_number from 1, page_label, file_name, document_id, width and height in points...),
        `image_path` and `image_url`. A hit also has `rank`, `score`, `scores` and `regions`; a neighbour has
        `neighbour_of`.

    Raises:
        DocumentError: The image is asked for, and its file no longer exists.
    """
    metadata = {
        **page.metadata,
        "file_path": page.file,
        "image_path": str(page.image_file_or_none() or page.image_path or ""),
        "image_url": page.image_url,
        "mime_type": MIME_TYPE,
    }
    if isinstance(page, Hit):
        metadata |= _hit_metadata(page)
    if neighbour_of:
        metadata["neighbour_of"] = neighbour_of
    if include_image:
        metadata[IMAGE_KEY] = base64.b64encode(_read_image(page)).decode()
    return Document(id=page.page_id, page_content=page.text, metadata=metadata)


def _hit_metadata(hit: Hit) -> dict[str, Any]:
    return {
        "rank": hit.rank,
        "score": hit.score,
        "scores": dict(hit.scores),
        "regions": [region.as_json() for region in hit.regions],
    }


def _read_image(page: IndexedPage) -> bytes:
    if page.image_path is None:
        return b""
    try:
        return page.image_file().read_bytes()
    except (FileNotFoundError, DocumentError) as error:
        hint = "ingest the file again with again=True, or leave out include_images"
        raise DocumentError(f"no image of {page.file}, page {page.page}", hint) from error
