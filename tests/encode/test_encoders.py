import numpy as np

from docrag.encode.encoders import load_encoders
from docrag.types import BM25, CAPTION, PATCHES, POOLED
from tests.samples import FERRY, make_page


def test_a_page_has_every_named_vector():
    encoders = load_encoders("minilm", None, "minilm", "english")
    [page] = encoders.encode_pages([make_page(FERRY, title="Harbour report")], ["Harbour report, page 1"])
    assert set(page.vectors) == {PATCHES, POOLED, CAPTION, BM25}
    assert page.vectors[CAPTION].shape == (384,)
    assert len(page.vectors[POOLED]) <= len(page.vectors[PATCHES]) == len(page.boxes)


def test_the_title_is_among_the_terms():
    encoders = load_encoders("minilm", None, "minilm", "english")
    [page] = encoders.encode_pages([make_page(FERRY, title="Wharf")], ["Wharf"])
    query = encoders.encode_query("wharf")
    assert set(query[BM25].indices) <= set(page.vectors[BM25].indices)


def test_captions_and_queries_share_a_space():
    encoders = load_encoders("minilm", None, "minilm", "english")
    near, far = encoders.encode_pages([make_page(FERRY), make_page("Soup recipes", number=2)], ["", ""])
    query = encoders.encode_query("boat departures")[CAPTION]
    assert np.dot(query, near.vectors[CAPTION]) > np.dot(query, far.vectors[CAPTION])
