"""Tiny random checkpoints of late interaction as transformers and sentence-transformers save them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from docrag.encode.checkpoints.torchvision import mend_torchvision
from tests.checkpoints.tokens import letter_tokenizer

QWEN_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
QWEN_TOKENS += ["<|image_pad|>", "<|video_pad|>"]
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 4096,
}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def save_colpali_hf(directory: Path) -> Path:
    """A ColPaliForRetrieval of two layers that sees 4 x 4 patches."""
    mend_torchvision()
    from transformers import ColPaliConfig, ColPaliForRetrieval, ColPaliProcessor, SiglipImageProcessor

    tokenizer = letter_tokenizer(
        ["<pad>", "<bos>", "<eos>", "<unk>", "<image>"], "<pad>", bos_token="<bos>", eos_token="<eos>"
    )
    images = SiglipImageProcessor(size={"height": 56, "width": 56})
    images.image_seq_length = 16
    processor = ColPaliProcessor(images, tokenizer)
    config = ColPaliConfig(
        vlm_config={
            "model_type": "paligemma",
            "text_config": {
                "model_type": "gemma",
                "vocab_size": len(processor.tokenizer),
                "head_dim": 16,
                "pad_token_id": 0,
                **TEXT,
            },
            "vision_config": {
                "model_type": "siglip_vision_model",
                "image_size": 56,
                "patch_size": 14,
                "projection_dim": 32,
                "vision_use_head": False,
                **VISION,
            },
            "image_token_index": processor.image_token_id,
            "projection_dim": 32,
            "hidden_size": 32,
        },
        embedding_dim=24,
    )
    torch.manual_seed(0)
    ColPaliForRetrieval(config).save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


def save_colqwen2_hf(directory: Path) -> Path:
    """A ColQwen2ForRetrieval of two layers that sees 4 to 64 patches."""
    mend_torchvision()
    from transformers import ColQwen2Config, ColQwen2ForRetrieval, ColQwen2Processor, Qwen2VLImageProcessor

    tokenizer = letter_tokenizer(QWEN_TOKENS, "<|endoftext|>", padding_side="left")
    images = Qwen2VLImageProcessor(min_pixels=4 * 28 * 28, max_pixels=64 * 28 * 28)
    config = ColQwen2Config(vlm_config={"model_type": "qwen2_vl", **_qwen(len(tokenizer))}, embedding_dim=24)
    torch.manual_seed(0)
    ColQwen2ForRetrieval(config).save_pretrained(directory)
    ColQwen2Processor(images, tokenizer).save_pretrained(directory)
    return directory


def _qwen(vocabulary: int) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    return {
        "text_config": {"vocab_size": vocabulary, "rope_parameters": rope, **TEXT},
        "vision_config": {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2},
        **{f"{name}_token_id": QWEN_TOKENS.index(f"<|{name}_pad|>") for name in ("image", "video")},
        **{f"vision_{name}_token_id": QWEN_TOKENS.index(f"<|vision_{name}|>") for name in ("start", "end")},
    }


IDEFICS_TOKENS = ["<|endoftext|>", "<|im_start|>", "<end_of_utterance>", "<image>"]
IDEFICS_TOKENS += ["<fake_token_around_image>", "<global-img>"]
IDEFICS_TOKENS += [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
TEMPLATE = """{% for message in messages %}{{ '<|im_start|>User:' }}{% for part in message['content'] %}
{%- if part['type'] == 'image' %}{{ '<image>Describe the image.' }}{% else %}{{ part['text'] }}{% endif %}
{%- endfor %}{{ '<end_of_utterance>' }}{% if task == 'query' %}{{ '<end_of_utterance>' * 10 }}{% endif %}
{%- endfor %}"""


def save_multi_vector(directory: Path) -> Path:
    """A MultiVectorEncoder around an Idefics3 that cuts pages into tiles of 4 x 4 patches."""
    mend_torchvision()
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    save_idefics3(directory)
    torch.manual_seed(1)
    rows = {"module_input_name": "token_embeddings"}
    project = Dense(32, 24, bias=False, activation_function=torch.nn.Identity(), **rows)
    modules = [Transformer(str(directory)), project, MultiVectorMask(), Normalize(**rows)]
    MultiVectorEncoder(modules=modules, device="cpu").save_pretrained(str(directory), create_model_card=False)
    return directory


def save_idefics3(directory: Path) -> None:
    """The bare model that it is around, in two layers."""
    from transformers import Idefics3Config, Idefics3ImageProcessor, Idefics3Model, Idefics3Processor

    tokenizer = letter_tokenizer(IDEFICS_TOKENS, "<|endoftext|>", padding_side="left")
    images = Idefics3ImageProcessor(size={"longest_edge": 128}, max_image_size={"longest_edge": 32})
    processor = Idefics3Processor(images, tokenizer, image_seq_len=16, chat_template=TEMPLATE)
    config = Idefics3Config(
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), "pad_token_id": 0, **TEXT},
        vision_config={"image_size": 32, "patch_size": 4, **VISION},
        image_token_id=IDEFICS_TOKENS.index("<image>"),
        scale_factor=2,
    )
    torch.manual_seed(0)
    Idefics3Model(config).save_pretrained(directory)
    processor.save_pretrained(directory)


def save_colmodernvbert_hf(directory: Path) -> Path:
    """A ColModernVBertForRetrieval of two layers, as transformers alone saves it."""
    mend_torchvision()
    from transformers import (
        ColModernVBertConfig,
        ColModernVBertForRetrieval,
        ColModernVBertProcessor,
        Idefics3ImageProcessor,
    )

    tokenizer = letter_tokenizer(IDEFICS_TOKENS, "<|endoftext|>", bos_token="<|im_start|>")
    images = Idefics3ImageProcessor(size={"longest_edge": 128}, max_image_size={"longest_edge": 32})
    text = {name: value for name, value in TEXT.items() if name != "num_key_value_heads"}
    special = dict.fromkeys(
        ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0
    )
    config = ColModernVBertConfig(
        vlm_config={
            "model_type": "modernvbert",
            "text_config": {"model_type": "modernbert", "vocab_size": len(tokenizer), **special, **text},
            "vision_config": {
                "model_type": "siglip_vision_model",
                "image_size": 32,
                "patch_size": 4,
                "vision_use_head": False,
                **VISION,
            },
            "image_token_id": IDEFICS_TOKENS.index("<image>"),
            "pixel_shuffle_factor": 2,
        },
        embedding_dim=24,
    )
    torch.manual_seed(0)
    ColModernVBertForRetrieval(config).save_pretrained(directory)
    ColModernVBertProcessor(images, tokenizer, image_seq_len=16).save_pretrained(directory)
    return directory


def save_adapter(base: Path, directory: Path) -> Path:
    """A LoRA adapter on the Idefics3 of save_multi_vector, with its modules but not its weights."""
    import peft
    from transformers import Idefics3Model

    shutil.copytree(base, directory, ignore=shutil.ignore_patterns("model.safetensors", "config.json"))
    for module in ("1_Dense", "2_MultiVectorMask", "3_Normalize"):
        shutil.copytree(base / module, directory / module, dirs_exist_ok=True)
    torch.manual_seed(2)
    lora = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    peft.get_peft_model(Idefics3Model.from_pretrained(base), lora).save_pretrained(directory)
    return directory
