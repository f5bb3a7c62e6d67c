"""The payload of a point: text, metadata and layout of its page.

The dashboard shows keys in the order in which they are stored, so what a person looks for comes first, and
what only a program reads comes last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docrag.errors import StoreError
from docrag.store.packing import BlockPosition, pack_blocks, pack_boxes, unpack_blocks, unpack_boxes
from docrag.store.page_address import plain_image
from docrag.types import Block, Page, PageRecord

HELD_BY = "held_by"
"""The payload field that lists the machines whose manifests hold a page; only a server's pages have it."""

TEXT_LAYER = "text-layer"
"""`words_from` of a page whose words come from the PDF. It has no blank, because the filter box of the
dashboard cuts values at blanks."""
OLDER_TEXT_LAYER = "text layer"
"""The same in indexes of an older docrag."""

_KEYS = ("image_url", "page_of", "metadata", "page_content")
"""The first keys of a payload; `_LAST_KEYS` follow after all others."""
_LAST_KEYS = (HELD_BY, "layout")
_METADATA_KEYS = (
    "file_name",
    "page_number",
    "title",
    "caption",
    "words_from",
    "page_label",
    "page",
    "total_pages",
    "source",
    "sources",
    "document_id",
    "width",
    "height",
)
"""The first keys of the metadata; a user's own fields follow."""

_DOCUMENT_ID = re.compile(r"[0-9A-Za-z_-]{3,}")


def page_payload(
    page: Page, caption: str, boxes: NDArray[np.float32] | None, image_url: str
) -> dict[str, Any]:
    """Return the payload of a page, in the order in which people read it.

    Args:
        page: The page; its image is not part of the payload.
        caption: The page's caption; may be empty.
        boxes: (n, 4) boxes of the rows of `patches`, NaN for rows without one; None without such vectors.
        image_url: Where the page image is served (`PageAddresses`).
    """
    text = page.text if page.text.strip() else ""
    caption = caption.strip()
    separator = "\n\n" if caption and text else ""
    blocks = _block_positions(page.blocks, len(caption) + len(separator)) if text else []
    return {
        "image_url": image_url,
        "page_of": page_of(page.document.name, page.number, page.document.total_pages),
        "metadata": _metadata(page, caption),
        "page_content": f"{caption}{separator}{text}",
        "layout": {
            "boxes": pack_boxes(np.empty((0, 4), np.float32) if boxes is None else boxes),
            "blocks": pack_blocks(blocks),
        },
    }


def page_of(file_name: str, number: int, total_pages: int) -> str:
    """Return the line that names a page to people.

    >>> page_of("PFIZER_2021_10K.pdf", 61, 143)
    'PFIZER_2021_10K.pdf, page 61 of 143'
    """
    return f"{file_name}, page {number} of {total_pages}"


def in_order(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return a payload with its keys, and those of its metadata, in the order in which people read them.

    Other keys keep their order: those of the payload before `held_by` and `layout`, those of the metadata
    last. Values are not changed. The payloads of texts in a vector store may be passed too.
    """
    others = [key for key in payload if key not in _KEYS and key not in _LAST_KEYS]
    ordered = {key: payload[key] for key in (*_KEYS, *others, *_LAST_KEYS) if key in payload}
    metadata = ordered.get("metadata")
    if isinstance(metadata, Mapping):
        ordered["metadata"] = _metadata_in_order(metadata)
    return ordered


def current_form(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole payload of a page as this docrag writes it, whichever docrag wrote it.

    The size of the page stays as it is: an export tells by the metadata whether a page has changed.
    """
    metadata = current_metadata(payload["metadata"])
    layout = payload["layout"]
    name = page_of(metadata["file_name"], metadata["page_number"], metadata["total_pages"])
    packed = {**layout, "blocks": pack_blocks(unpack_blocks(layout["blocks"]))}
    return in_order({**payload, "page_of": name, "metadata": metadata, "layout": packed})


def current_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a page as this docrag writes it: indexes of an older one lack `page_number`."""
    current = {**metadata, "page_number": metadata["page"] + 1}
    if metadata.get("words_from") == OLDER_TEXT_LAYER:
        current["words_from"] = TEXT_LAYER
    return _metadata_in_order(current)


def older_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a page in the oldest form, from which the digests of exports are made."""
    older = {key: value for key, value in metadata.items() if key != "page_number"}
    if metadata.get("words_from") == TEXT_LAYER:
        older["words_from"] = OLDER_TEXT_LAYER
    return older


def image_file(root: Path, document_id: str, number: int) -> Path:
    """Return where the image of a page is stored: root/ab/<document id>/<page number>.jpg.

    Raises:
        StoreError: The id is not a valid document id; it could lead out of the folder.
    """
    _require_document_id(document_id)
    return root.joinpath(document_id[:2], document_id, f"{number}.jpg")


def document_folder(root: Path, document_id: str) -> Path:
    """Return where the page images of a document are stored; errors as for `image_file`."""
    _require_document_id(document_id)
    return root.joinpath(document_id[:2], document_id)


def _require_document_id(document_id: str) -> None:
    if not _DOCUMENT_ID.fullmatch(document_id):
        raise StoreError(f"{document_id!r} is not the id of a document")


def page_fields(record: PageRecord, image_root: Path) -> dict[str, Any]:
    """Return the fields of `IndexedPage`, which hits have as well, from the payload of a point.

    Args:
        record: The point; its vectors are not needed.
        image_root: The folder of the page images.
    """
    payload = record.payload
    metadata = current_metadata(payload["metadata"])
    number = metadata["page_number"]
    return {
        "file": metadata["source"],
        "page": number,
        "page_id": record.id,
        "text": payload["page_content"],
        "blocks": blocks_of(payload),
        "metadata": metadata,
        "image_path": image_file(image_root, metadata["document_id"], number),
        "image_url": plain_image(payload.get("image_url", "")),
    }


def boxes_of(payload: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return the (n, 4) boxes of the rows of `patches`, exact to 1/65534, NaN for rows without a box."""
    return unpack_boxes(payload["layout"]["boxes"])


def blocks_of(payload: Mapping[str, Any]) -> tuple[Block, ...]:
    """Return the page's blocks, with boxes exact to 4 decimals; their font size is not stored."""
    content = payload["page_content"]
    positions = unpack_blocks(payload["layout"]["blocks"])
    return tuple(Block(content[start:end], box) for box, start, end in positions)


def source_metadata(sources: Sequence[str]) -> dict[str, Any]:
    """Return the part of a page's metadata that names its document's files; the first is its `source`."""
    return {"source": sources[0], "sources": list(sources), "file_name": Path(sources[0]).name}


def _metadata(page: Page, caption: str) -> dict[str, Any]:
    document = page.document
    metadata = {
        **source_metadata(document.sources),
        "page_number": page.number,
        "title": document.title,
        "caption": caption,
        # Text instead of a boolean, because qdrant-edge cannot match booleans (it takes True for 1).
        "words_from": "ocr" if page.ocr else TEXT_LAYER if page.words else "none",
        "page_label": page.label,
        # Counted from 0, like PyMuPDFLoader; people see page_number or page_label.
        "page": page.number - 1,
        "total_pages": document.total_pages,
        "document_id": document.id,
        "width": round(float(page.width), 2),
        "height": round(float(page.height), 2),
    }
    return _metadata_in_order(metadata)


def _metadata_in_order(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: metadata[key] for key in dict.fromkeys((*_METADATA_KEYS, *metadata)) if key in metadata}


def _block_positions(blocks: Sequence[Block], start: int) -> list[BlockPosition]:
    """Return where each block stands on the page and in its content.

    Positions in the page content begin at `start`: `Page.text` joins the texts of blocks by a line break.
    """
    positions: list[BlockPosition] = []
    for block in blocks:
        end = start + len(block.text)
        positions.append(BlockPosition(block.box, start, end))
        start = end + 1
    return positions
