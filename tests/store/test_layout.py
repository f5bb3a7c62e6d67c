from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from docrag.errors import IndexMismatch, InvalidRecord, StoreError
from docrag.store.layout import Fingerprint, Layout, require_equal, validate_record
from docrag.types import PageRecord, SparseVector, Vector

Make = Callable[[int], PageRecord]


def with_vector(record: PageRecord, name: str, vector: Vector) -> PageRecord:
    return dataclasses.replace(record, vectors={**record.vectors, name: vector})


def test_a_layout_has_vectors_only_for_the_encoders_there_are():
    assert Layout.for_dims(late=None, image=512, text=384).names == {"image", "caption", "bm25"}
    assert Layout.for_dims(late=128, image=None, text=384).names == {"patches", "pooled", "caption", "bm25"}


def test_a_good_record_passes(record: Make, layout: Layout):
    validate_record(record(0), layout)
    validate_record(with_vector(record(0), "bm25", SparseVector((), ())), layout)


def nan_row() -> np.ndarray:
    rows = np.eye(3, 16, dtype=np.float32)
    rows[1, 4] = np.nan
    return rows


@pytest.mark.parametrize(
    ("name", "vector", "reason"),
    [
        ("patches", np.empty((0, 16), np.float32), "patches is empty"),
        ("patches", np.eye(16, dtype=np.float32)[0], "shape"),
        ("patches", np.eye(3, 15, dtype=np.float32), "shape"),
        ("patches", nan_row(), "NaN"),
        ("pooled", 2 * np.eye(3, 16, dtype=np.float32), "row 0 of pooled is not of length 1"),
        ("patches", np.tile(np.eye(1, 16, dtype=np.float32), (2**16, 1)), "floats"),
        ("caption", np.full(8, np.inf, np.float32), "infinity"),
        ("caption", SparseVector((1,), (1.0,)), "must be a dense"),
        ("bm25", np.ones(8, np.float32), "must be a sparse"),
        ("bm25", SparseVector((1, 1), (1.0, 2.0)), "twice"),
        ("bm25", SparseVector((-1,), (1.0,)), "outside"),
        ("bm25", SparseVector((2**32,), (1.0,)), "outside"),
        ("bm25", SparseVector((1,), (float("nan"),)), "NaN"),
        ("bm25", SparseVector((1, 2), (1.0,)), "2 indices and 1 values"),
        ("nonsense", np.ones(8, np.float32), "unknown vector nonsense"),
    ],
)
def test_a_bad_vector_is_refused_by_name_and_page(
    record: Make, layout: Layout, name: str, vector: Vector, reason: str
):
    with pytest.raises(InvalidRecord, match=reason) as caught:
        validate_record(with_vector(record(7), name, vector), layout)
    assert "page 3 of /docs/1.pdf" in caught.value.message


def test_a_missing_vector_is_refused(record: Make, layout: Layout):
    vectors = {name: vector for name, vector in record(0).vectors.items() if name != "pooled"}
    with pytest.raises(InvalidRecord, match="no vector pooled"):
        validate_record(dataclasses.replace(record(0), vectors=vectors), layout)


def test_an_id_that_qdrant_would_not_take_is_refused(record: Make, layout: Layout):
    with pytest.raises(InvalidRecord, match="not a UUID"):
        validate_record(dataclasses.replace(record(0), id="page-1"), layout)


@pytest.mark.parametrize(
    "change",
    [
        {"page_content": None},
        {"page_content": b"bytes"},
        {"page_content": "\ud800 alone"},
        {"extra": b"bytes"},
        {"extra": float("nan")},
    ],
)
def test_a_payload_that_would_be_stored_wrong_is_refused(record: Make, layout: Layout, change: dict):
    with pytest.raises(InvalidRecord, match="payload"):
        validate_record(dataclasses.replace(record(0), payload={**record(0).payload, **change}), layout)


MINILM = {"family": "minilm", "model": "all-MiniLM-L6-v2", "recipe": "1", "dim": 384}
COLPALI = {"family": "colpali", "model": "vidore/colpali-v1.3", "recipe": "1", "dim": 128}


def fingerprint(**changes: object) -> Fingerprint:
    return Fingerprint(
        {"layout": 1, "late": MINILM, "image": None, "text": MINILM, "render_side": 1536, **changes}
    )


def test_a_fingerprint_survives_json():
    assert Fingerprint.from_json(fingerprint().to_json()) == fingerprint()
    require_equal(Fingerprint.from_json(fingerprint().to_json()), fingerprint())


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_fingerprint_is_an_error(text: str):
    with pytest.raises(StoreError, match="damaged"):
        Fingerprint.from_json(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"late": COLPALI},
            "built with minilm all-MiniLM-L6-v2, asked for colpali vidore/colpali-v1.3",
        ),
        ({"late": None}, "built with minilm all-MiniLM-L6-v2, asked for no late encoder"),
        ({"text": MINILM | {"recipe": "2"}}, "minilm all-MiniLM-L6-v2, recipe '1', asked for recipe '2'"),
        ({"layout": 2, "late": COLPALI}, "built with layout 1, asked for layout 2"),
        ({"render_side": 800}, "built with render_side 1536, asked for render_side 800"),
    ],
)
def test_a_mismatch_says_what_both_are(changes: dict, message: str):
    with pytest.raises(IndexMismatch) as caught:
        require_equal(fingerprint(), fingerprint(**changes))
    assert message in caught.value.message
    assert "new index" in caught.value.hint
