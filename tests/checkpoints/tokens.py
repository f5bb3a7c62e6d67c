"""Tokenizers of tiny checkpoints; their vocabularies are fixed, since trained ones differ from run to run."""

from __future__ import annotations

import string
from collections.abc import Sequence

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

LETTERS = string.ascii_lowercase + string.ascii_uppercase + string.digits + string.punctuation + " \nĠ"
"""The last one is the space of byte-level vocabularies."""


def letter_tokenizer(special: Sequence[str], pad: str, **roles: str) -> PreTrainedTokenizerFast:
    """A token for each ASCII character and each special token.

    Args:
        special: Special tokens; they get the first ids, in this order.
        pad: The one that pads.
        roles: Others by role: bos_token, eos_token, unk_token, ...
    """
    names = [*special, *(letter for letter in LETTERS if letter not in special)]
    vocabulary = {name: i for i, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=pad))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(list(special))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, **roles)
