from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from docrag.encode.vectors.grid import grid_boxes
from docrag.store.payload import blocks_of, boxes_of, page_payload
from docrag.types import Block, Document, Page, PageImage

DOCUMENT = Document("ab" * 32, ("/in/report.pdf", "/copy/report.pdf"), 12, "Annual report")
BLOCKS = (Block("Heading", (0.1, 0.05, 0.9, 0.1)), Block("zwei\nZeilen ü", (0.1, 0.123456, 0.9, 0.4)))


def page(blocks: tuple[Block, ...] = BLOCKS) -> Page:
    return Page(DOCUMENT, 3, "iii", 612.0, 792.0, (), blocks, PageImage(b"jpeg", 10, 10))


def test_the_payload_is_what_langchain_and_the_dashboard_read():
    payload = page_payload(page(), "A caption", None, "http://localhost/3.jpg")
    assert payload["page_content"] == "A caption\n\nHeading\nzwei\nZeilen ü"
    assert payload["image_url"] == "http://localhost/3.jpg"
    assert payload["metadata"] == {
        "source": "/in/report.pdf",
        "sources": ["/in/report.pdf", "/copy/report.pdf"],
        "file_name": "report.pdf",
        "document_id": "ab" * 32,
        "page": 2,
        "page_label": "iii",
        "total_pages": 12,
        "title": "Annual report",
        "caption": "A caption",
        "width": 612.0,
        "height": 792.0,
        "words_from": "none",
    }
    json.dumps(payload, allow_nan=False)


@pytest.mark.parametrize(
    ("caption", "blocks", "content"),
    [
        ("", BLOCKS, "Heading\nzwei\nZeilen ü"),
        ("Only", (), "Only"),
        ("Only", (Block(" ", (0, 0, 1, 1)),), "Only"),
        ("", (), ""),
    ],
)
def test_page_content_is_always_text(caption: str, blocks: tuple[Block, ...], content: str):
    payload = page_payload(page(blocks), caption, None, "")
    assert payload["page_content"] == content


@pytest.mark.parametrize("caption", ["", "A caption"])
def test_blocks_come_back_with_their_text(caption: str):
    blocks = blocks_of(page_payload(page(), caption, None, ""))
    assert [block.text for block in blocks] == [block.text for block in BLOCKS]
    np.testing.assert_allclose([b.box for b in blocks], [b.box for b in BLOCKS], atol=5e-5)


def test_boxes_come_back_to_a_65534th():
    boxes = np.random.default_rng(0).uniform(0, 1, (380, 4)).astype(np.float32)
    boxes[0] = 1.0
    boxes[[3, 8]] = np.nan
    payload = page_payload(page(), "", boxes, "")
    found = boxes_of(payload)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, boxes, atol=1 / 65534)
    assert len(payload["layout"]["boxes"]) < 4100


def test_no_boxes_come_back_as_none_at_all():
    assert boxes_of(page_payload(page(), "", None, "")).shape == (0, 4)


def test_boxes_of_a_grid_take_little():
    boxes = grid_boxes(32, 32)
    payload = page_payload(page(), "", boxes, "")
    assert len(payload["layout"]["boxes"]) < 400
    np.testing.assert_allclose(boxes_of(payload), boxes, atol=1 / 65534)


def test_boxes_of_older_indexes_are_read():
    rows = np.array([[0, 0, 65534, 32767], [65535] * 4], "<u2")  # row by row, without compression
    found = boxes_of({"layout": {"boxes": base64.b64encode(rows.tobytes()).decode()}})
    np.testing.assert_allclose(found, [[0, 0, 1, 0.5], [np.nan] * 4], atol=1 / 65534)
