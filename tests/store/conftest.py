from __future__ import annotations

import uuid
from collections.abc import Callable

import numpy as np
import pytest

from docrag.store.layout import Layout
from docrag.store.packing import pack_blocks
from docrag.types import PageRecord, SparseVector

LATE, IMAGE, TEXT = 16, 12, 8


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape).astype(np.float32)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def make_record(number: int) -> PageRecord:
    """Page `number`: five pages a document, two sources for every other document."""
    rng = np.random.default_rng(number)
    document, page = divmod(number, 5)
    sources = [f"/docs/{document}.pdf", f"/copy/{document}.pdf"][: 1 + document % 2]
    terms = rng.choice(40, size=6, replace=False)
    return PageRecord(
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))),
        vectors={
            "patches": unit(rng, 7 + number % 3, LATE),
            "pooled": unit(rng, 3, LATE),
            "image": unit(rng, IMAGE),
            "caption": unit(rng, TEXT),
            "bm25": SparseVector(tuple(int(t) for t in terms), tuple(float(v) for v in rng.uniform(1, 2, 6))),
        },
        payload={
            "image_url": f"http://localhost/{number}.jpg",
            "page_of": f"{document}.pdf, page {page + 1} of 5",
            "metadata": {
                "file_name": f"{document}.pdf",
                "page_number": page + 1,
                "title": f"Title {document}",
                "words_from": "ocr" if page == 4 else "text-layer",
                "page": page,
                "total_pages": 5,
                "source": sources[0],
                "sources": sources,
                "document_id": f"{document:064x}",
            },
            "page_content": f"text of page {number}",
            "layout": {"boxes": "", "blocks": pack_blocks([])},
        },
    )


@pytest.fixture(scope="session")
def layout() -> Layout:
    return Layout.for_dims(late=LATE, image=IMAGE, text=TEXT)


@pytest.fixture(scope="session")
def record() -> Callable[[int], PageRecord]:
    return make_record


@pytest.fixture(scope="session")
def records() -> list[PageRecord]:
    return [make_record(number) for number in range(30)]
