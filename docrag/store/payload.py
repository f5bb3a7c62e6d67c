"""What a point says of its page beside the vectors, as langchain-qdrant and the dashboard read it."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docrag.types import Block, Page

_SCALE = 65534
_NOWHERE = 65535
_COMPRESSED = "zlib:"


def page_payload(
    page: Page, caption: str, boxes: NDArray[np.float32] | None, image_url: str
) -> dict[str, Any]:
    """The payload of a page.

    Args:
        page: The page; its picture does not go in.
        caption: What was said about the page; may be empty.
        boxes: (n, 4) where each row of `patches` stands, NaN for nowhere; None without such vectors.
        image_url: Where the picture is served (`image_address`).
    """
    text = page.text if page.text.strip() else ""
    caption = caption.strip()
    between = "\n\n" if caption and text else ""
    return {
        "page_content": f"{caption}{between}{text}",
        "metadata": _metadata(page, caption),
        "image_url": image_url,
        "layout": {
            "boxes": _pack(np.empty((0, 4), np.float32) if boxes is None else boxes),
            "blocks": _block_rows(page.blocks, len(caption) + len(between)) if text else [],
        },
    }


def image_address(base_url: str, document_id: str, number: int) -> str:
    """Where the picture of a page is served; the dashboard shows http URLs whose path ends in .jpg.

    >>> image_address("http://localhost:8000", "ab12", 3)
    'http://localhost:8000/pages/ab12/3.jpg'
    """
    return f"{base_url}/pages/{document_id}/{number}.jpg"


def base_of(address: str) -> str:
    """The base that `image_address` was given."""
    return address.rpartition("/pages/")[0]


def boxes_of(payload: Mapping[str, Any]) -> NDArray[np.float32]:
    """(n, 4) boxes of the rows of `patches`, exact to 1/65534, NaN for rows that stand nowhere."""
    packed = _unpack(payload["layout"]["boxes"])
    boxes: NDArray[np.float32] = packed.astype(np.float32) / np.float32(_SCALE)
    boxes[packed[:, 0] == _NOWHERE] = np.nan
    return boxes


def blocks_of(payload: Mapping[str, Any]) -> tuple[Block, ...]:
    """The page's blocks, boxes exact to 4 decimals; the size of their letters is not kept."""
    content = payload["page_content"]
    return tuple(
        Block(content[start:end], (x0, y0, x1, y1))
        for x0, y0, x1, y1, start, end in payload["layout"]["blocks"]
    )


def source_metadata(sources: Sequence[str]) -> dict[str, Any]:
    """The part of a page's metadata that says where its document stands; the first source is its name."""
    return {"source": sources[0], "sources": list(sources), "file_name": Path(sources[0]).name}


def _metadata(page: Page, caption: str) -> dict[str, Any]:
    document = page.document
    return {
        **source_metadata(document.sources),
        "document_id": document.id,
        # As PyMuPDFLoader counts; people see page_label or the number from 1.
        "page": page.number - 1,
        "page_label": page.label,
        "total_pages": document.total_pages,
        "title": document.title,
        "caption": caption,
        "width": page.width,
        "height": page.height,
        # Words, since qdrant-edge matches no truth values (it takes True for 1).
        "words_from": "ocr" if page.ocr else "text layer" if page.words else "none",
    }


def _block_rows(blocks: tuple[Block, ...], start: int) -> list[list[float]]:
    """[x0, y0, x1, y1, start, end] for each block: `Page.text` joins their texts by one line break."""
    rows: list[list[float]] = []
    for block in blocks:
        end = start + len(block.text)
        rows.append([*(round(float(value), 4) for value in block.box), start, end])
        start = end + 1
    return rows


def _pack(boxes: NDArray[np.float32]) -> str:
    """Two bytes a coordinate, compressed by columns: 1,030 patches of a grid take 0.3 KB, not 11."""
    nowhere = np.isnan(boxes).any(axis=1, keepdims=True)
    steps = np.rint(np.clip(np.where(nowhere, 0, boxes), 0, 1) * _SCALE)
    columns = np.where(nowhere, _NOWHERE, steps).astype("<u2").T.tobytes()
    return _COMPRESSED + base64.b64encode(zlib.compress(columns)).decode()


def _unpack(text: str) -> NDArray[np.uint16]:
    """(n, 4) steps; indexes of before were written row by row, without compression."""
    if text.startswith(_COMPRESSED):
        columns = zlib.decompress(base64.b64decode(text.removeprefix(_COMPRESSED)))
        return np.frombuffer(columns, "<u2").reshape(4, -1).T
    return np.frombuffer(base64.b64decode(text), "<u2").reshape(-1, 4)
