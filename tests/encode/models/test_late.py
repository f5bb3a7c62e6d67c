"""What all late-interaction encoders do around their model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from docrag.encode.base import EncoderOptions
from docrag.encode.registry import page_encoder
from docrag.errors import ModelError

QUERIES = [f"question {i}" for i in range(7)]


@pytest.fixture
def encoder(checkpoint):
    return page_encoder(checkpoint("colqwen2-hf"), EncoderOptions(device="cpu", dtype="float32"))


def bounded(monkeypatch, encoder, most):
    """Let the model fail where it gets more texts than that."""
    encode = encoder._model.encode_texts

    def within(texts):
        if len(texts) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return encode(texts)

    monkeypatch.setattr(encoder._model, "encode_texts", within)


@pytest.mark.slow
def test_queries_that_do_not_fit_are_halved(monkeypatch, encoder):
    expected = encoder.encode_queries(QUERIES)
    bounded(monkeypatch, encoder, 2)
    for one, other in zip(expected, encoder.encode_queries(QUERIES), strict=True):
        np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-5)


@pytest.mark.slow
def test_a_query_that_does_not_fit_is_an_error_with_advice(monkeypatch, encoder):
    bounded(monkeypatch, encoder, 0)
    with pytest.raises(ModelError, match="does not fit into the memory") as refused:
        encoder.encode_queries(QUERIES)
    assert "--dtype bfloat16" in refused.value.hint
