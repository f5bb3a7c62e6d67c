"""The encoders of an index, side by side."""

from __future__ import annotations

import logging

import numpy as np

from docrag.encode.base import EncoderOptions
from docrag.encode.encoders import Encoders
from docrag.encode.models import minilm_model
from docrag.encode.models.bm25 import Bm25Encoder
from docrag.encode.registry import page_encoder, text_encoder
from docrag.types import BM25, CAPTION, IMAGE, PATCHES, POOLED
from tests.samples import FERRY, make_image, make_page


def minilm() -> Encoders:
    return Encoders(page_encoder("minilm"), text_encoder("minilm"), Bm25Encoder("english"))


def test_a_page_has_every_named_vector():
    encoders = minilm()
    [page] = encoders.encode_pages([make_page(FERRY, title="Harbour report")], ["Harbour report, page 1"])
    assert set(page.vectors) == {PATCHES, POOLED, CAPTION, BM25}
    assert page.vectors[CAPTION].shape == (384,)
    assert len(page.vectors[POOLED]) <= len(page.vectors[PATCHES]) == len(page.boxes)


def test_the_title_is_among_the_terms():
    encoders = minilm()
    [page] = encoders.encode_pages([make_page(FERRY, title="Wharf")], ["Wharf"])
    query = encoders.encode_query("wharf")
    assert set(query[BM25].indices) <= set(page.vectors[BM25].indices)


def test_captions_and_queries_share_a_space():
    encoders = minilm()
    near, far = encoders.encode_pages([make_page(FERRY), make_page("Soup recipes", number=2)], ["", ""])
    query = encoders.encode_query("boat departures")[CAPTION]
    assert np.dot(query, near.vectors[CAPTION]) > np.dot(query, far.vectors[CAPTION])


def test_a_query_has_a_vector_for_each_space_it_can_be_compared_in():
    encoders = minilm()
    assert set(encoders.encode_query("boat departures")) == {PATCHES, CAPTION, BM25}
    assert encoders.encode_query("") == {}


def test_an_image_alone_is_a_query_for_encoders_that_take_images(checkpoint):
    image_encoder = page_encoder(checkpoint("clip"), EncoderOptions(device="cpu", dtype="float32"))
    encoders = Encoders(page_encoder("minilm"), text_encoder("minilm"), Bm25Encoder("english"), image_encoder)
    assert encoders.takes_images
    assert set(encoders.encode_query(image=make_image(1))) == {IMAGE}
    both = encoders.encode_query("a ferry", image=make_image(1))
    assert set(both) == {PATCHES, CAPTION, BM25, IMAGE}
    np.testing.assert_allclose(np.linalg.norm(both[IMAGE]), 1, atol=1e-5)


def test_loading_is_logged_and_the_text_of_a_query_is_not(caplog):
    load_once = minilm_model._load_once
    load_once.cache_clear()
    with caplog.at_level(logging.DEBUG, logger="docrag.encode"):
        minilm().encode_query("a secret question")
    assert any(message.startswith("loaded minilm for ") for message in caplog.messages)
    assert "encoding 1 queries together" in caplog.messages
    assert "secret" not in caplog.text
