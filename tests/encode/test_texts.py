"""Texts that name special tokens; test_colpali has those of colpali-engine."""

from __future__ import annotations

import numpy as np
import pytest

from docrag.encode.options import EncoderOptions
from docrag.encode.registry import page_encoder
from docrag.encode.texts import plain


def open_float32(name, **options):
    return page_encoder(str(name), EncoderOptions(device="cpu", dtype="float32", **options))


@pytest.mark.parametrize(
    ("family", "token"),
    [("colpali-hf", "<image>"), ("multi-vector", "<image>"), ("colqwen2-hf", "<|image_pad|>")],
)
def test_a_query_with_the_token_of_an_image_is_a_text_too(checkpoint, family, token):
    """The libraries take it for an image that was forgotten, and fail."""
    encoder = open_float32(checkpoint(family))
    named, broken_up = encoder.encode_queries(
        [f"what is {token} here", f"what is {token[0]} {token[1:]} here"]
    )
    np.testing.assert_allclose(named.vectors, broken_up.vectors, atol=1e-6)


def test_nothing_of_a_text_becomes_a_token():
    special = ["<image>", "<eos>"]
    for text in ("<ima<image>ge>", "<<image>image>", "<image><image>", "<ima<eos>ge>"):
        assert not any(token in plain(text, special) for token in special)
    assert plain("1 < 2 and <b>bold</b>", special) == "1 < 2 and <b>bold</b>"
