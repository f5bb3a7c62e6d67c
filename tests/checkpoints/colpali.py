"""Tiny random checkpoints as colpali-engine saves them."""

from __future__ import annotations

from pathlib import Path

import torch

from docrag.encode.torchvision import mend_torchvision
from tests.checkpoints.tokens import letter_tokenizer

QWEN_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
QWEN_TOKENS += ["<|image_pad|>", "<|video_pad|>"]


def save_colqwen2(directory: Path) -> Path:
    """A ColQwen2 of two layers that sees 4 to 64 patches."""
    mend_torchvision()
    from colpali_engine.models import ColQwen2, ColQwen2Processor
    from transformers import Qwen2VLConfig, Qwen2VLImageProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    tokenizer = letter_tokenizer(QWEN_TOKENS, "<|endoftext|>")
    image_processor = Qwen2VLImageProcessor(min_pixels=4 * 28 * 28, max_pixels=64 * 28 * 28)
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
            "max_position_embeddings": 4096,
        },
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2},
        image_token_id=QWEN_TOKENS.index("<|image_pad|>"),
        video_token_id=QWEN_TOKENS.index("<|video_pad|>"),
        vision_start_token_id=QWEN_TOKENS.index("<|vision_start|>"),
        vision_end_token_id=QWEN_TOKENS.index("<|vision_end|>"),
    )
    torch.manual_seed(0)
    ColQwen2(config).save_pretrained(directory)
    ColQwen2Processor(image_processor, tokenizer, Qwen2VLVideoProcessor()).save_pretrained(directory)
    return directory
