"""The payload of a point: text, metadata and layout of its page, for langchain-qdrant and the dashboard."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docrag.errors import StoreError
from docrag.store.page_address import plain_image
from docrag.types import Block, Page, PageRecord

_DOCUMENT_ID = re.compile(r"[0-9A-Za-z_-]{3,}")
_SCALE = 65534
"""Steps of a coordinate from 0 to 1."""
_NO_BOX = 65535
"""The coordinate of a row that has no box."""
_COMPRESSED = "zlib:"


def page_payload(
    page: Page, caption: str, boxes: NDArray[np.float32] | None, image_url: str
) -> dict[str, Any]:
    """Return the payload of a page.

    Args:
        page: The page; its image is not part of the payload.
        caption: The page's caption; may be empty.
        boxes: (n, 4) boxes of the rows of `patches`, NaN for rows without one; None without such vectors.
        image_url: Where the page image is served (`PageAddresses`).
    """
    text = page.text if page.text.strip() else ""
    caption = caption.strip()
    separator = "\n\n" if caption and text else ""
    return {
        "page_content": f"{caption}{separator}{text}",
        "metadata": _metadata(page, caption),
        "image_url": image_url,
        "layout": {
            "boxes": _pack(np.empty((0, 4), np.float32) if boxes is None else boxes),
            "blocks": _block_rows(page.blocks, len(caption) + len(separator)) if text else [],
        },
    }


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
    metadata = payload["metadata"]
    number = metadata["page"] + 1
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
    packed = _unpack(payload["layout"]["boxes"])
    boxes: NDArray[np.float32] = packed.astype(np.float32) / np.float32(_SCALE)
    boxes[packed[:, 0] == _NO_BOX] = np.nan
    return boxes


def blocks_of(payload: Mapping[str, Any]) -> tuple[Block, ...]:
    """Return the page's blocks, with boxes exact to 4 decimals; their font size is not stored."""
    content = payload["page_content"]
    return tuple(
        Block(content[start:end], (x0, y0, x1, y1))
        for x0, y0, x1, y1, start, end in payload["layout"]["blocks"]
    )


def source_metadata(sources: Sequence[str]) -> dict[str, Any]:
    """Return the part of a page's metadata that names its document's files; the first is its `source`."""
    return {"source": sources[0], "sources": list(sources), "file_name": Path(sources[0]).name}


def _metadata(page: Page, caption: str) -> dict[str, Any]:
    document = page.document
    return {
        **source_metadata(document.sources),
        "document_id": document.id,
        # Counted from 0, like PyMuPDFLoader; people see page_label or the number from 1.
        "page": page.number - 1,
        "page_label": page.label,
        "total_pages": document.total_pages,
        "title": document.title,
        "caption": caption,
        "width": page.width,
        "height": page.height,
        # Text instead of a boolean, because qdrant-edge cannot match booleans (it takes True for 1).
        "words_from": "ocr" if page.ocr else "text layer" if page.words else "none",
    }


def _block_rows(blocks: tuple[Block, ...], start: int) -> list[list[float]]:
    """Return [x0, y0, x1, y1, start, end] for each block.

    `start` and `end` are positions in the page content: `Page.text` joins the texts of blocks by a line
    break.
    """
    rows: list[list[float]] = []
    for block in blocks:
        end = start + len(block.text)
        rows.append([*(round(float(value), 4) for value in block.box), start, end])
        start = end + 1
    return rows


def _pack(boxes: NDArray[np.float32]) -> str:
    """Encode boxes, two bytes a coordinate, compressed by column: a grid of 1,030 takes 0.3 KB, not 11."""
    no_box = np.isnan(boxes).any(axis=1, keepdims=True)
    steps = np.rint(np.clip(np.where(no_box, 0, boxes), 0, 1) * _SCALE)
    columns = np.where(no_box, _NO_BOX, steps).astype("<u2").T.tobytes()
    return _COMPRESSED + base64.b64encode(zlib.compress(columns)).decode()


def _unpack(text: str) -> NDArray[np.uint16]:
    """Decode (n, 4) steps; older indexes were written row by row and without compression."""
    if text.startswith(_COMPRESSED):
        columns = zlib.decompress(base64.b64decode(text.removeprefix(_COMPRESSED)))
        return np.frombuffer(columns, "<u2").reshape(4, -1).T
    return np.frombuffer(base64.b64decode(text), "<u2").reshape(-1, 4)
