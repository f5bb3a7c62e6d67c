import numpy as np

from docrag.encode.encoders import Encoders
from docrag.encode.models.bm25 import Bm25Encoder
from docrag.encode.registry import page_encoder, text_encoder
from docrag.types import BM25, CAPTION, PATCHES, POOLED
from tests.samples import FERRY, make_page


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
