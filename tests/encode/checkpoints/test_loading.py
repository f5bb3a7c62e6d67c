"""Loading models: what is logged, and models that are too large."""

from __future__ import annotations

import logging

import pytest
import torch

from docrag.encode.base import EncoderOptions
from docrag.encode.registry import page_encoder, text_encoder
from docrag.errors import ModelError
from tests.checkpoints.sentences import save_sentences

FLOAT32 = EncoderOptions(device="cpu", dtype="float32")


@pytest.fixture
def full(monkeypatch):
    """A device on which no model fits, simulated by the error of a GPU."""

    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore lines")

    monkeypatch.setattr(torch.nn.Module, "to", fail)


@pytest.mark.parametrize(
    "family",
    ["clip", "siglip2", "clip-multilingual", "colqwen2", "colpali-lora", "colqwen2-hf", "multi-vector"],
)
def test_a_model_that_does_not_fit_is_an_error_with_advice(checkpoint, request, family):
    name = checkpoint(family)
    request.getfixturevalue("full")
    with pytest.raises(ModelError, match="does not fit into the memory of cpu: CUDA out") as refused:
        page_encoder(name, FLOAT32).encode_queries(["ferry"])
    assert type(refused.value) is ModelError  # its weights are all there
    assert "more lines" not in refused.value.message
    assert "--dtype bfloat16" in refused.value.hint


def test_a_text_model_that_does_not_fit_is_an_error_with_advice(tmp_path, request):
    name = str(save_sentences(tmp_path / "model"))
    request.getfixturevalue("full")
    with pytest.raises(ModelError, match="does not fit") as refused:
        text_encoder(name, FLOAT32).encode_queries(["ferry"])
    assert type(refused.value) is ModelError


def test_memory_that_ends_while_weights_are_read_is_told(checkpoint, monkeypatch):
    import transformers

    name = checkpoint("clip")

    def fail(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(transformers.CLIPModel, "from_pretrained", fail)
    with pytest.raises(ModelError, match=r"does not fit.*Cannot allocate memory"):
        page_encoder(name, FLOAT32).encode_queries(["ferry"])


@pytest.mark.parametrize("family", ["clip", "colqwen2-hf"])
def test_a_model_that_was_loaded_is_logged_with_its_device_and_precision(checkpoint, caplog, family):
    name = checkpoint(family)
    with caplog.at_level(logging.INFO, logger="docrag.encode"):
        page_encoder(name, FLOAT32).encode_queries(["a secret question"])
    [message] = [message for message in caplog.messages if message.startswith("loaded")]
    assert message.startswith(f"loaded {name} for cpu in float32 with sdpa attention (")
    assert "secret" not in caplog.text
