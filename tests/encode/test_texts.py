"""Texts that name special tokens, and the words of tokens, for both kinds of tokenizers that models have."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from docrag.encode.base import EncoderOptions
from docrag.encode.registry import page_encoder
from docrag.encode.texts import QueryWords, is_content, split_years, without_special_tokens, words_at
from tests.samples import APPLE, CLOCK, FERRY


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
        assert not any(token in without_special_tokens(text, special) for token in special)
    assert without_special_tokens("1 < 2 and <b>bold</b>", special) == "1 < 2 and <b>bold</b>"


TRAINED_SPECIAL = ["<pad>", "<bos>", "<think>"]
PROMPTS = {
    "bare": ("", "<think>" * 3),
    "chat": ("<bos>user\nQuery: ", "\n<think>"),
    "spaced": ("<bos>ask ", "?"),
}
WORDS_OF_TEXTS = {
    "When does the ferry leave the harbour?": "When does the ferry leave the harbour",
    "pendulum": "pendulum",
    "  Ärzte - ⛴️ 渡船时刻表, (storage)\n": "Ärzte ⛴️ 渡船时刻表 storage",
    "ask user Query: ask user Query": "ask user Query",
    "x": "x",
    "7 x": "7 x",
}


def byte_level() -> Tokenizer:
    """As GPT-2's, Qwen's and ModernBERT's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [FERRY, APPLE, CLOCK], trainers.BpeTrainer(special_tokens=TRAINED_SPECIAL, initial_alphabet=alphabet)
    )
    return tokenizer


def sentence_pieces() -> Tokenizer:
    """As Gemma's: a space is a letter, and what has no letter of its own is bytes."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<pad>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    special = [*TRAINED_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(
        [FERRY, APPLE, CLOCK], trainers.BpeTrainer(vocab_size=500, special_tokens=special)
    )
    return tokenizer


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("train", [byte_level, sentence_pieces])
def test_words_are_found_whatever_stands_around_them(train, prompt):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=train(), pad_token="<pad>")
    before, after = PROMPTS[prompt]

    def queries(texts):
        return [tokenizer(f"{before}{text}{after}")["input_ids"] for text in texts]

    words = QueryWords(tokenizer, queries)
    for text, expected in WORDS_OF_TEXTS.items():
        [ids] = queries([text])
        names = words.of(text, ids)
        assert len(names) == len(ids)
        assert [word for word in dict.fromkeys(names) if word] == list(dict.fromkeys(expected.split())), text
        around = max(0, len(tokenizer(before)["input_ids"]) - 1)
        assert not any(names[:around]), "the prompt is no word"
        assert not any(names[-after.count("<think>") :]) or not after.count("<think>")


def test_what_was_made_of_another_text_has_no_words():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level(), pad_token="<pad>")
    words = QueryWords(tokenizer, lambda texts: [tokenizer(text)["input_ids"] for text in texts])
    assert words.of("apples in winter", tokenizer("the islands at dawn")["input_ids"]) is None


def test_a_query_that_is_cut_off_keeps_the_words_that_are_left():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level(), pad_token="<pad>")
    words = QueryWords(tokenizer, lambda texts: [tokenizer(text)["input_ids"] for text in texts])
    text = "the northern islands at dawn"
    ids = tokenizer(text)["input_ids"][:2]
    assert words.of(text, ids) == words_at(text, [(0, 3), (3, 7)])[:2] == ("the", "northern")


def test_a_token_that_reaches_into_two_words_belongs_to_the_first():
    assert words_at("ferry leaves", [(0, 8), (8, 12)]) == ("ferry", "leaves")


def test_stop_words_and_punctuation_carry_no_meaning():
    tokens = ["the", "price", "of", "a", "##pples", "?", "3"]
    assert is_content(tokens) == [False, True, False, True, True, False, True]
    assert is_content([]) == []


def test_years_are_split_off_short_names_only():
    assert split_years("FY2017, Q2'2023 and 1984") == "FY 2017, Q2 2023 and 1984"
    assert split_years("COVID19 in 1984-2017") == "COVID19 in 1984-2017"
