"""One model for many threads, and one of them at a time at its tokenizer."""

from __future__ import annotations

import time

import pytest
from transformers import PreTrainedTokenizerFast

from docrag.encode.models import minilm_model
from docrag.encode.runtime.once import guard, once
from tests.checkpoints.tokens import letter_tokenizer
from tests.threads import at_once


class Holder:
    """Has something that takes a while to make."""

    def __init__(self) -> None:
        self.made = 0

    @once
    def model(self) -> object:
        """The model."""
        time.sleep(0.05)
        self.made += 1
        return object()


def test_it_is_made_once_however_many_ask():
    holder, other = Holder(), Holder()
    assert len(set(at_once(16, lambda i: holder.model))) == 1
    assert holder.made == 1
    assert other.model is not holder.model
    assert Holder.model.__doc__ == "The model."


def test_what_failed_is_tried_again():
    class Failing(Holder):
        @once
        def model(self) -> object:
            self.made += 1
            if self.made == 1:
                raise OSError("gone")
            return self

    failing = Failing()
    with pytest.raises(OSError, match="gone"):
        failing.model  # noqa: B018
    assert failing.model is failing


def test_minilm_is_loaded_once(monkeypatch):
    loaded = []
    monkeypatch.setattr(minilm_model, "MiniLM", lambda *given: (loaded.append(given), time.sleep(0.05)))
    minilm_model._load_once.cache_clear()
    try:
        at_once(16, lambda i: minilm_model.load("cpu", "float32"))
    finally:
        minilm_model._load_once.cache_clear()  # the stand-in
    assert len(loaded) == 1


def test_threads_get_the_padding_that_they_ask_for():
    tokenizer = letter_tokenizer(["<pad>"], "<pad>")
    plain = type(tokenizer)
    guard(tokenizer)

    def lengths(i):
        texts = ["abc", "de" * (i + 2)]
        padded = i % 2 == 0
        encoded = [tokenizer(texts, padding=padded)["input_ids"] for _ in range(100)]
        expected = [2 * i + 4] * 2 if padded else [3, 2 * i + 4]
        return all([len(ids) for ids in one] == expected for one in encoded)

    assert all(at_once(8, lengths))
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert type(tokenizer).__name__ == plain.__name__
    assert type(letter_tokenizer(["<pad>"], "<pad>")) is plain, "others stay as they are"
