import pytest

from docrag.encode.models.bm25 import Bm25Encoder
from docrag.errors import SettingsError


def test_passages_and_queries_share_term_ids():
    encoder = Bm25Encoder()
    [passage] = encoder.encode_passages(["The ferries carry passengers and cars."])
    [query] = encoder.encode_queries(["ferry passenger"])
    assert set(query.indices) < set(passage.indices)


def test_weights_saturate():
    once, thrice = Bm25Encoder().encode_passages(["ferry", "ferry ferry ferry"])
    assert once.values[0] < thrice.values[0] < 3 * once.values[0]


def test_stop_words_alone_give_nothing():
    assert Bm25Encoder().encode_queries(["the of and"])[0].indices == ()


def test_other_languages_are_stemmed():
    encoder = Bm25Encoder("german")
    [passage] = encoder.encode_passages(["Die Häuser der Stadt"])
    [query] = encoder.encode_queries(["Haus"])
    assert set(query.indices) <= set(passage.indices)


def test_an_unknown_language_is_refused():
    with pytest.raises(SettingsError, match="klingon"):
        Bm25Encoder("klingon")
