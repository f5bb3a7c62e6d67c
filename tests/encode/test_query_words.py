"""Words among tokens, with the two kinds of tokenizers that models have, trained here on a few sentences."""

from __future__ import annotations

import pytest
from docrag.encode.words import QueryWords, words_at
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.samples import APPLE, CLOCK, FERRY

SPECIAL = ["<pad>", "<bos>", "<think>"]
PROMPTS = {
    "bare": ("", "<think>" * 3),
    "chat": ("<bos>user\nQuery: ", "\n<think>"),
    "spaced": ("<bos>ask ", "?"),
}
TEXTS = {
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
        [FERRY, APPLE, CLOCK], trainers.BpeTrainer(special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    return tokenizer


def sentence_pieces() -> Tokenizer:
    """As Gemma's: a space is a letter, and what has no letter of its own is bytes."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<pad>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    special = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
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
    for text, expected in TEXTS.items():
        [ids] = queries([text])
        told = words.of(text, ids)
        assert len(told) == len(ids)
        assert [word for word in dict.fromkeys(told) if word] == list(dict.fromkeys(expected.split())), text
        around = max(0, len(tokenizer(before)["input_ids"]) - 1)
        assert not any(told[:around]), "the prompt is no word"
        assert not any(told[-after.count("<think>") :]) or not after.count("<think>")


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
