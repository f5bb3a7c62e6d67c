"""Models of real size with random weights, and how their own libraries run them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docrag.encode.checkpoints.torchvision import mend_torchvision


def build(model: str, directory: Path) -> None:
    """Save a model with random weights, whole or not at all."""
    _prepare()
    draft = directory.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    BUILDERS[model](draft)
    draft.rename(directory)


def load(model: str, directory: Path, dtype: str, side: int) -> Callable[[Any], int]:
    """A function that encodes pictures with the model's own library and gives the number of vectors.

    Args:
        model: One of MODELS.
        directory: Where it lies.
        dtype: As torch names it.
        side: Pixels on the long side that the model sees; 0 for its own.
    """
    _prepare()
    import torch

    return LIBRARIES[model](directory, getattr(torch, dtype), side)


def _prepare() -> None:
    """Libraries as they can be imported, and quiet."""
    mend_torchvision()
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def load_clip(directory: Path, dtype: Any, side: int) -> Callable[[Any], int]:
    """CLIP as its card says."""
    import torch
    from transformers import CLIPModel, CLIPProcessor

    model = CLIPModel.from_pretrained(directory, dtype=dtype).eval()
    processor = CLIPProcessor.from_pretrained(directory)

    def forward(images: Any) -> int:
        inputs = processor(images=images, return_tensors="pt").to(dtype)
        with torch.inference_mode():
            found = model.get_image_features(**inputs).pooler_output
        return len(torch.nn.functional.normalize(found, dim=-1).float().numpy())

    return forward


def load_colidefics3(directory: Path, dtype: Any, side: int) -> Callable[[Any], int]:
    """ColIdefics3 as its card says; padding is cut off, as whoever stores the vectors must."""
    import torch
    from colpali_engine.models import ColIdefics3, ColIdefics3Processor

    model = ColIdefics3.from_pretrained(directory, dtype=dtype, attn_implementation="sdpa").eval()
    processor = ColIdefics3Processor.from_pretrained(directory)
    processor.image_processor.size = {"longest_edge": side}

    def forward(images: Any) -> int:
        inputs = processor.process_images(images).to(dtype)
        with torch.inference_mode():
            found = model(**inputs)
        masks = inputs["attention_mask"].bool()
        return sum(len(rows[mask].float().numpy()) for rows, mask in zip(found, masks, strict=True))

    return forward


def build_clip(directory: Path) -> None:
    """ViT-B/32, which the defaults of transformers are; the tokenizer is that of the tests."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    from tests.checkpoints.clip import save_clip

    save_clip(directory)  # for its tokenizer
    tokenizer = CLIPProcessor.from_pretrained(directory).tokenizer
    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(directory)
    CLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(directory)


def build_colsmol(directory: Path) -> None:
    """SmolVLM-256M: SigLIP base at 512 pixels, and a language model of 30 layers."""
    import torch
    from colpali_engine.models import ColIdefics3, ColIdefics3Processor
    from transformers import Idefics3Config, Idefics3ImageProcessor

    from tests.checkpoints.colpali import IDEFICS_TOKENS
    from tests.checkpoints.tokens import letter_tokenizer

    images = Idefics3ImageProcessor(size={"longest_edge": 2048}, max_image_size={"longest_edge": 512})
    processor = ColIdefics3Processor(images, letter_tokenizer(IDEFICS_TOKENS, "<pad>"), image_seq_len=64)
    text = {"model_type": "llama", "vocab_size": 49280, "hidden_size": 576, "intermediate_size": 1536}
    text |= {"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64}
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
    vision |= {"num_attention_heads": 12, "image_size": 512, "patch_size": 16}
    config = Idefics3Config(
        text_config={**text, "max_position_embeddings": 8192, "pad_token_id": 0},
        vision_config=vision,
        image_token_id=processor.image_token_id,
        scale_factor=4,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    ColIdefics3(config).save_pretrained(directory)
    processor.save_pretrained(directory)


LIBRARIES: dict[str, Callable[[Path, Any, int], Callable[[Any], int]]] = {
    "clip-b32": load_clip,
    "colsmol-256m": load_colidefics3,
}
BUILDERS: dict[str, Callable[[Path], None]] = {"clip-b32": build_clip, "colsmol-256m": build_colsmol}
MODELS = list(BUILDERS)
