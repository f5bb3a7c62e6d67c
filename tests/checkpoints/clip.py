"""Tiny random CLIP checkpoints in every layout that there is, and a text model for a pair."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel

from docrag.encode.checkpoints.torchvision import mend_torchvision
from tests.checkpoints.tokens import letter_tokenizer

DIM = 24
SIDE = 32
MAX_TOKENS = 77


def save_clip(directory: Path) -> Path:
    """A CLIP of two layers a tower as transformers saves it."""
    mend_torchvision()
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    names = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {name: i for i, name in enumerate(names)}
    layers = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": DIM,
    }
    config = CLIPConfig(
        text_config={**layers, "vocab_size": len(names), "bos_token_id": 0, "eos_token_id": 1},
        vision_config={**layers, "image_size": SIDE, "patch_size": 8},
        projection_dim=DIM,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(directory)
    size = {"shortest_edge": SIDE}
    images = CLIPImageProcessor(size=size, crop_size={"height": SIDE, "width": SIDE})
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=MAX_TOKENS)
    CLIPProcessor(images, tokenizer).save_pretrained(directory)
    return directory


def save_clip_st(directory: Path) -> Path:
    """The same, read and saved by sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    plain = save_clip(directory / "plain")
    SentenceTransformer(str(plain), device="cpu").save_pretrained(
        str(directory / "st"), create_model_card=False
    )
    return directory / "st"


def save_clip_legacy(directory: Path, **settings: str | int) -> Path:
    """The layout of sentence-transformers/clip-ViT-B-32: the model in a folder of its own.

    Args:
        directory: Where.
        settings: What sentence_bert_config.json says; without any, there is none.
    """
    module = {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
    save_clip(directory / "0_CLIPModel")
    (directory / "modules.json").write_text(json.dumps([module]))
    if settings:
        (directory / "0_CLIPModel" / "sentence_bert_config.json").write_text(json.dumps(settings))
    return directory


def save_text_tower(directory: Path, dim: int = DIM, *, safe: bool = True) -> Path:
    """The layout of clip-ViT-B-32-multilingual-v1: DistilBERT, mean pooling, a dense layer without bias."""
    mend_torchvision()
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import DistilBertConfig, DistilBertModel

    tokenizer = letter_tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]"], "[PAD]", unk_token="[UNK]")
    config = DistilBertConfig(
        vocab_size=len(tokenizer), dim=32, hidden_dim=64, n_layers=2, n_heads=2, max_position_embeddings=128
    )
    torch.manual_seed(1)
    DistilBertModel(config).save_pretrained(directory / "plain")
    tokenizer.save_pretrained(directory / "plain")
    words = Transformer(str(directory / "plain"), max_seq_length=128)
    dense = Dense(32, dim, bias=False, activation_function=torch.nn.Identity())
    model = SentenceTransformer(modules=[words, Pooling(32), dense], device="cpu")
    model.save_pretrained(str(directory / "st"), create_model_card=False)
    if not safe:
        (directory / "st" / "2_Dense" / "model.safetensors").unlink()
        torch.save(dense.state_dict(), directory / "st" / "2_Dense" / "pytorch_model.bin")
    return directory / "st"


def save_clip_multilingual(directory: Path) -> str:
    """A pair of the two."""
    return f"{save_clip_legacy(directory / 'images')}+{save_text_tower(directory / 'texts')}"
