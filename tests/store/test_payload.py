from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docrag.encode.vectors.grid import grid_boxes
from docrag.store.packing import unpack_blocks
from docrag.store.payload import blocks_of, boxes_of, current_form, in_order, page_fields, page_payload
from docrag.types import Block, Document, Page, PageImage, PageRecord, Word

DOCUMENT = Document("ab" * 32, ("/in/report.pdf", "/copy/report.pdf"), 12, "Annual report")
BLOCKS = (Block("Heading", (0.1, 0.05, 0.9, 0.1)), Block("zwei\nZeilen ü", (0.1, 0.123456, 0.9, 0.4)))

BOX = (0.1, 0.1, 0.2, 0.2)


def page(blocks: tuple[Block, ...] = BLOCKS) -> Page:
    return Page(DOCUMENT, 3, "iii", 715.2000122, 792.0, (), blocks, PageImage(b"jpeg", 10, 10))


def test_the_payload_is_what_langchain_and_the_dashboard_read():
    payload = page_payload(page(), "A caption", None, "http://localhost/3.jpg")
    assert list(payload) == ["image_url", "page_of", "metadata", "page_content", "layout"]
    assert payload["page_content"] == "A caption\n\nHeading\nzwei\nZeilen ü"
    assert payload["image_url"] == "http://localhost/3.jpg"
    assert payload["page_of"] == "report.pdf, page 3 of 12"
    assert list(payload["metadata"].items()) == [
        ("file_name", "report.pdf"),
        ("page_number", 3),
        ("title", "Annual report"),
        ("caption", "A caption"),
        ("words_from", "none"),
        ("page_label", "iii"),
        ("page", 2),
        ("total_pages", 12),
        ("source", "/in/report.pdf"),
        ("sources", ["/in/report.pdf", "/copy/report.pdf"]),
        ("document_id", "ab" * 32),
        ("width", 715.2),
        ("height", 792.0),
    ]
    json.dumps(payload, allow_nan=False)


@pytest.mark.parametrize(
    ("words", "ocr", "words_from"),
    [((), False, "none"), ((Word("a", BOX, 0),), False, "text-layer"), ((Word("a", BOX, 0),), True, "ocr")],
)
def test_where_the_words_come_from_has_no_blank(words: tuple[Word, ...], ocr: bool, words_from: str):
    payload = page_payload(replace(page(), words=words, ocr=ocr), "", None, "")
    assert payload["metadata"]["words_from"] == words_from


def test_any_payload_is_put_in_order():
    given = {
        "layout": {},
        "held_by": ["a"],
        "own": 1,
        "page_content": "",
        "metadata": {"customer": "x", "page": 0, "file_name": "a.pdf"},
        "image_url": "",
    }
    ordered = in_order(given)
    assert ordered == given
    assert list(ordered) == ["image_url", "metadata", "page_content", "own", "held_by", "layout"]
    assert list(ordered["metadata"]) == ["file_name", "page", "customer"]
    assert in_order({"metadata": None}) == {"metadata": None}


def test_what_an_older_docrag_wrote_gets_the_current_form():
    current = page_payload(page(), "A caption", None, "http://localhost/3.jpg")
    current["metadata"]["words_from"] = "text-layer"
    older = older_form(current)
    assert current_form(older) == current
    assert list(current_form(older)) == list(current)
    assert list(current_form(older)["metadata"]) == list(current["metadata"])
    assert current_form(current) == current
    assert blocks_of(older) == blocks_of(current)


def test_a_page_of_an_older_index_has_the_same_fields():
    current = page_payload(replace(page(), words=(Word("a", BOX, 0),)), "", None, "")
    older = older_form(current)
    records = [PageRecord("id", {}, payload) for payload in (current, older)]
    fields = [page_fields(record, Path("images")) for record in records]
    assert fields[0] == fields[1]
    assert fields[1]["metadata"]["page_number"] == fields[1]["page"] == 3
    assert "page_number" not in older["metadata"]  # records are cached: reading one does not change it


def older_form(payload: dict[str, Any]) -> dict[str, Any]:
    """A payload as it was written before keys had an order."""
    metadata = {**payload["metadata"], "words_from": "text layer"}
    del metadata["page_number"]
    rows = [[*box, start, end] for box, start, end in unpack_blocks(payload["layout"]["blocks"])]
    return {
        "page_content": payload["page_content"],
        "metadata": metadata,
        "image_url": payload["image_url"],
        "layout": {"boxes": payload["layout"]["boxes"], "blocks": rows},
    }


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
