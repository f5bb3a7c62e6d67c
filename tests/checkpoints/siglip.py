"""Tiny random checkpoints of SigLIP and SigLIP 2, with what is odd about those on the hub."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch

from docrag.encode.checkpoints.torchvision import mend_torchvision
from tests.checkpoints.tokens import LETTERS, letter_tokenizer

DIM = 32
SIDE = 32
LENGTH = 64
LAYERS = {
    "hidden_size": DIM,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def save_siglip(directory: Path) -> Path:
    """A SigLIP of two layers a tower; its tokenizer gives a mask, which the model must not see."""
    tokenizer = letter_tokenizer(["</s>", "<unk>"], "</s>", eos_token="</s>", unk_token="<unk>")
    return _save_fixed(directory, tokenizer, seed=2)


def save_siglip_spm(directory: Path) -> Path:
    """The same with SigLIP's own tokenizer, which reads a sentencepiece model: one of letters."""
    mend_torchvision()
    from sentencepiece import sentencepiece_model_pb2 as sentencepiece
    from transformers import SiglipTokenizer

    model = sentencepiece.ModelProto()
    for name, kind in (("<pad>", 3), ("</s>", 3), ("<unk>", 2)):
        model.pieces.add(piece=name, score=0, type=kind)
    for letter in "▁" + string.ascii_lowercase:
        model.pieces.add(piece=letter, score=-1, type=1)
    model.trainer_spec.pad_id, model.trainer_spec.eos_id, model.trainer_spec.unk_id = 0, 1, 2
    model.trainer_spec.bos_id = -1
    model.normalizer_spec.name = "identity"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "spiece.model").write_bytes(model.SerializeToString())
    return _save_fixed(directory, SiglipTokenizer(str(directory / "spiece.model")), seed=2)


def save_siglip2(directory: Path) -> Path:
    """A SigLIP 2 of one resolution; as on the hub, config.json names no class, the tokenizer is Gemma's."""
    _save_fixed(directory, gemma_tokenizer(), seed=3)
    _edit(directory / "config.json", architectures=None)
    _edit(directory / "tokenizer_config.json", tokenizer_class="GemmaTokenizer")
    return directory


def save_siglip2_naflex(directory: Path) -> Path:
    """A SigLIP 2 of any resolution, with a grid of 4 by 4 patches that is stretched to fit."""
    mend_torchvision()
    from transformers import Siglip2Config, Siglip2ImageProcessor, Siglip2Model, Siglip2Processor

    tokenizer = gemma_tokenizer()
    config = Siglip2Config(
        text_config={**LAYERS, "vocab_size": len(tokenizer), "max_position_embeddings": LENGTH},
        vision_config={**LAYERS, "patch_size": 8, "num_patches": 16},
    )
    torch.manual_seed(4)
    model = Siglip2Model(config)
    _scale_as_trained(model)
    model.save_pretrained(directory)
    images = Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    Siglip2Processor(images, tokenizer).save_pretrained(directory)
    _edit(directory / "tokenizer_config.json", tokenizer_class="GemmaTokenizer")
    return directory


def gemma_tokenizer() -> Any:
    """The tokenizer of SigLIP 2, with letters and bytes for words."""
    mend_torchvision()
    from transformers import Siglip2Tokenizer

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    letters = [letter for letter in LETTERS.replace(" ", "▁") if letter != "\n"]
    names = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    vocabulary = {name: i for i, name in enumerate(names)}
    return Siglip2Tokenizer(
        vocab=vocabulary,
        merges=[],
        padding_side="right",
        model_max_length=LENGTH,
        add_bos_token=False,
        add_eos_token=True,
    )


def _save_fixed(directory: Path, tokenizer: Any, seed: int) -> Path:
    mend_torchvision()
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

    config = SiglipConfig(
        text_config={**LAYERS, "vocab_size": len(tokenizer), "max_position_embeddings": LENGTH},
        vision_config={**LAYERS, "image_size": SIDE, "patch_size": 8},
    )
    torch.manual_seed(seed)
    model = SiglipModel(config)
    _scale_as_trained(model)
    model.save_pretrained(directory)
    images = SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    SiglipProcessor(images, tokenizer).save_pretrained(directory)
    return directory


def _scale_as_trained(model: Any) -> None:
    """Give scale and bias the size that they have in trained checkpoints."""
    with torch.no_grad():
        model.logit_scale.fill_(4.7)
        model.logit_bias.fill_(-16.0)


def _edit(file: Path, **changes: Any) -> None:
    settings = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({name: value for name, value in settings.items() if value is not None}))
