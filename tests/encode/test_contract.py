"""What every page encoder promises, whichever family it is of."""

from __future__ import annotations

import numpy as np
import pytest

from docrag.encode.base import PageEncoder
from docrag.encode.registry import PAGE_ENCODERS, page_encoder
from tests.samples import APPLE, CLOCK, FERRY, make_page

PAGES = [
    make_page(FERRY, title="Ferry report 2023"),
    make_page(APPLE * 40, title="Orchards", number=2),
    make_page("", title="Blank", number=3),
    make_page(CLOCK),
    make_page(""),
]
QUERIES = [
    "When does the ferry leave?",
    "pendulum",
    "the of and",
    "?!",
    "FY2023 " * 400,
    "Wie heißt das Schiff?",
]
BATCHING = 3e-2
"""How much a value may change with the batch it is computed in: bfloat16 has 8 significant bits."""


@pytest.fixture(scope="module", params=sorted(PAGE_ENCODERS))
def encoder(request: pytest.FixtureRequest) -> PageEncoder:
    return page_encoder(request.param)


def test_pages_are_rows_of_the_dimension_and_of_length_one(encoder):
    for encoded in encoder.encode_pages(PAGES):
        assert encoded.vectors.dtype == np.float32
        assert encoded.vectors.shape[0] >= 1
        assert encoded.vectors.shape[1] == encoder.spec.dim
        np.testing.assert_allclose(np.linalg.norm(encoded.vectors, axis=1), 1, atol=1e-5)
        if encoded.summary is not None:
            np.testing.assert_allclose(np.linalg.norm(encoded.summary), 1, atol=1e-5)


def test_every_vector_has_a_box_within_the_page_or_none(encoder):
    for encoded in encoder.encode_pages(PAGES):
        assert encoded.boxes.shape == (len(encoded.vectors), 4)
        placed = encoded.boxes[~np.isnan(encoded.boxes[:, 0])]
        assert not np.isnan(placed).any()
        assert ((placed >= 0) & (placed <= 1)).all()
        assert (placed[:, :2] <= placed[:, 2:]).all()


def test_queries_are_finite_and_never_empty(encoder):
    for encoded in encoder.encode_queries(QUERIES):
        assert encoded.vectors.shape[0] >= 1
        assert encoded.vectors.shape[1] == encoder.spec.dim
        assert np.isfinite(encoded.vectors).all()
        assert (np.linalg.norm(encoded.vectors, axis=1) > 0).all()
        assert encoded.boxes is None


def test_a_page_alone_is_the_page_in_a_batch(encoder):
    for page, batched in zip(PAGES, encoder.encode_pages(PAGES), strict=True):
        [alone] = encoder.encode_pages([page])
        np.testing.assert_allclose(alone.vectors, batched.vectors, atol=BATCHING)
        np.testing.assert_array_equal(alone.boxes, batched.boxes)


def test_order_is_kept(encoder):
    forwards, backwards = encoder.encode_pages(PAGES), encoder.encode_pages(PAGES[::-1])
    for one, other in zip(forwards, backwards[::-1], strict=True):
        np.testing.assert_allclose(one.vectors, other.vectors, atol=BATCHING)


def test_a_query_alone_is_the_query_in_a_batch(encoder):
    for query, batched in zip(QUERIES, encoder.encode_queries(QUERIES), strict=True):
        [alone] = encoder.encode_queries([query])
        np.testing.assert_allclose(alone.vectors, batched.vectors, atol=2 * BATCHING)


def test_nothing_gives_nothing(encoder):
    assert encoder.encode_pages([]) == []
    assert encoder.encode_queries([]) == []


def test_the_fingerprint_says_what_was_used(encoder):
    told = encoder.spec.fingerprint()
    assert told["family"] == encoder.spec.family
    assert told["dim"] == encoder.spec.dim
