"""Tiny random text models as sentence-transformers saves them."""

from __future__ import annotations

from pathlib import Path

import torch

from docrag.encode.torchvision import mend_torchvision
from tests.checkpoints.tokens import letter_tokenizer

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def save_sentences(directory: Path) -> Path:
    """A BERT of two layers with mean pooling, a projection to 24, and prompts; it reads 48 characters."""
    mend_torchvision()
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertModel

    tokenizer = letter_tokenizer(TOKENS, "[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    modules = [Transformer(str(directory), max_seq_length=48), Pooling(32), Dense(32, 24)]
    prompts = {"query": "query: ", "document": "passage: "}
    model = SentenceTransformer(modules=modules, prompts=prompts, device="cpu")
    model.save_pretrained(str(directory), create_model_card=False)
    return directory
