"""Tiny random text models as sentence-transformers saves them."""

from __future__ import annotations

from pathlib import Path

import torch

from docrag.encode.checkpoints.torchvision import mend_torchvision
from tests.checkpoints.multi_vector import save_idefics3
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


def save_static(directory: Path) -> Path:
    """A vector of 16 numbers for each character, and their mean."""
    mend_torchvision()
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    torch.manual_seed(0)
    tokenizer = letter_tokenizer(TOKENS, "[PAD]")
    module = StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=16)
    model = SentenceTransformer(modules=[module], device="cpu")
    model.save_pretrained(str(directory), create_model_card=False)
    return directory


def save_sighted(directory: Path) -> Path:
    """An Idefics3 with mean pooling: a text model that sees images too."""
    mend_torchvision()
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    save_idefics3(directory)
    model = SentenceTransformer(modules=[Transformer(str(directory)), Pooling(32)], device="cpu")
    model.save_pretrained(str(directory), create_model_card=False)
    return directory
