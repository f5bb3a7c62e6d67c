"""Tiny random checkpoints as colpali-engine saves them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from docrag.encode.checkpoints.torchvision import mend_torchvision
from tests.checkpoints.tokens import letter_tokenizer

QWEN_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
QWEN_TOKENS += ["<|image_pad|>", "<|video_pad|>"]
QWEN_IDS = {
    f"{name}_token_id": QWEN_TOKENS.index(f"<|{token}|>")
    for name, token in [("image", "image_pad"), ("video", "video_pad")]
    + [(f"vision_{side}", f"vision_{side}") for side in ("start", "end")]
}
IDEFICS_TOKENS = ["<pad>", "<|im_start|>", "<|begin_of_text|>", "<end_of_utterance>", "<image>"]
IDEFICS_TOKENS += ["<fake_token_around_image>", "<global-img>"]
IDEFICS_TOKENS += [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
GEMMA_TOKENS = ["<pad>", "<eos>", "<bos>", "<image>", "<start_of_image>", "<end_of_image>"]
GEMMA_TOKENS += ["<image_soft_token>", "<start_of_turn>", "<end_of_turn>"]
GEMMA_CHAT = (
    "<bos>{% for m in messages %}<start_of_turn>{{ m['role'] }}\n"
    "{% for c in m['content'] %}{{ '<start_of_image>' if c['type'] == 'image' else c['text'] }}{% endfor %}"
    "<end_of_turn>\n{% endfor %}"
)
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 4096,
}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def save_colpali(directory: Path) -> Path:
    """A ColPali of two layers that sees 4 x 4 patches."""
    engine = _engine()
    from transformers import PaliGemmaConfig, SiglipImageProcessor

    tokenizer = letter_tokenizer(GEMMA_TOKENS, "<pad>", bos_token="<bos>", eos_token="<eos>")
    image_processor = SiglipImageProcessor(size={"height": 32, "width": 32})
    image_processor.image_seq_length = 16
    processor = engine.ColPaliProcessor(image_processor, tokenizer)
    text = {**TEXT, "model_type": "gemma", "head_dim": 16, "vocab_size": len(tokenizer), "pad_token_id": 0}
    config = PaliGemmaConfig(
        text_config=text,
        vision_config={**VISION, "image_size": 32, "patch_size": 8, "projection_dim": 32},
        image_token_index=GEMMA_TOKENS.index("<image>"),
        projection_dim=32,
        hidden_size=32,
    )
    return _save(directory, engine.ColPali, config, processor)


def save_colqwen2(directory: Path) -> Path:
    """A ColQwen2 of two layers that sees 4 to 64 patches."""
    engine = _engine()
    from transformers import Qwen2VLConfig

    processor = _qwen_processor(engine.ColQwen2Processor, 14)
    config = Qwen2VLConfig(
        text_config=_qwen_text(processor),
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2},
        **QWEN_IDS,
    )
    return _save(directory, engine.ColQwen2, config, processor)


def save_colqwen25(directory: Path) -> Path:
    """A ColQwen2.5 of two layers that sees 4 to 64 patches, those of one layer in windows."""
    engine = _engine()
    from transformers import Qwen2_5_VLConfig

    processor = _qwen_processor(engine.ColQwen2_5_Processor, 14)
    vision = {"depth": 2, "hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 64, "num_heads": 2}
    config = Qwen2_5_VLConfig(
        text_config=_qwen_text(processor),
        vision_config={**vision, "fullatt_block_indexes": [1], "window_size": 56},
        **QWEN_IDS,
    )
    return _save(directory, engine.ColQwen2_5, config, processor)


def save_colqwen3(directory: Path) -> Path:
    """A ColQwen3 of two layers that sees 4 to 64 patches; its vectors have 320 dimensions."""
    engine = _engine()
    from transformers import Qwen3VLConfig

    processor = _qwen_processor(engine.ColQwen3Processor, 16)
    config = Qwen3VLConfig(
        text_config={**_qwen_text(processor), "head_dim": 16},
        vision_config={**_QWEN3_VISION, "deepstack_visual_indexes": [0]},
        **QWEN_IDS,
    )
    return _save(directory, engine.ColQwen3, config, processor)


def save_colqwen35(directory: Path) -> Path:
    """A ColQwen3.5 of a linear and a full layer that sees 4 to 64 patches; vectors of 48 dimensions."""
    engine = _engine()
    from transformers import Qwen3_5Config

    processor = _qwen_processor(engine.ColQwen3_5Processor, 16)
    text = {
        **_qwen_text(processor),
        "head_dim": 32,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
    }
    config = Qwen3_5Config(text_config=text, vision_config=_QWEN3_VISION, dim=48, **QWEN_IDS)
    return _save(directory, engine.ColQwen3_5, config, processor)


def save_colidefics3(directory: Path) -> Path:
    """A ColIdefics3 of two layers: tiles of 64 pixels with 4 x 4 patches, four along the long side."""
    engine = _engine()
    from transformers import Idefics3Config

    processor = _idefics_processor(engine.ColIdefics3Processor)
    config = Idefics3Config(
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(processor.tokenizer)},
        vision_config={**VISION, "image_size": 64, "patch_size": 8},
        image_token_id=processor.image_token_id,
        scale_factor=2,
        pad_token_id=0,
    )
    return _save(directory, engine.ColIdefics3, config, processor)


def save_colmodernvbert(directory: Path) -> Path:
    """A ColModernVBert of two layers, with the tiles of `save_colidefics3`."""
    engine = _engine()
    from transformers import ModernVBertConfig

    processor = _idefics_processor(engine.ColModernVBertProcessor)
    special = dict.fromkeys(
        ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0
    )
    text = {**TEXT, **special, "vocab_size": len(processor.tokenizer)}
    del text["num_key_value_heads"]
    config = ModernVBertConfig(
        text_config=text,
        vision_config={**VISION, "image_size": 64, "patch_size": 8},
        image_token_id=processor.image_token_id,
        pixel_shuffle_factor=2,
    )
    return _save(directory, engine.ColModernVBert, config, processor)


def save_colgemma3(directory: Path) -> Path:
    """A ColGemma3 of two layers: 8 x 8 patches, pooled to 4 x 4."""
    engine = _engine()
    from transformers import Gemma3Config, Gemma3ImageProcessor

    tokenizer = letter_tokenizer(
        GEMMA_TOKENS,
        "<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        extra_special_tokens={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
        chat_template=GEMMA_CHAT,
    )
    processor = engine.ColGemmaProcessor3(
        Gemma3ImageProcessor(size={"height": 64, "width": 64}), tokenizer, image_seq_length=16
    )
    config = Gemma3Config(
        text_config={**TEXT, "head_dim": 16, "vocab_size": len(tokenizer), "sliding_window": 512},
        vision_config={**VISION, "image_size": 64, "patch_size": 8},
        mm_tokens_per_image=16,
        image_token_id=tokenizer.image_token_id,
        boi_token_id=tokenizer.boi_token_id,
        eoi_token_id=tokenizer.eoi_token_id,
    )
    return _save(directory, engine.ColGemma3, config, processor)


def save_colpali_lora(directory: Path) -> Path:
    """A LoRA adapter, with random weights, of the model that `save_colpali` saves beside it."""
    engine = _engine()
    return save_adapter(engine.ColPali, save_colpali(directory / "base"), directory / "adapter")


def save_adapter(model_class: Any, base: Path, directory: Path, **settings: Any) -> Path:
    """A LoRA adapter with random weights, without a processor of its own.

    Args:
        model_class: Of colpali-engine.
        base: A checkpoint of it.
        directory: Where to save.
        settings: For LoraConfig.
    """
    from peft import LoraConfig, get_peft_model

    targets = r"(.*(language_model).*(down_proj|q_proj|v_proj).*$|.*(custom_text_proj).*$)"
    given = {"r": 4, "target_modules": targets, "task_type": "FEATURE_EXTRACTION", **settings}
    with warnings.catch_warnings():  # peft asks transformers by a name that version 6 drops
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        model = get_peft_model(model_class.from_pretrained(base), LoraConfig(**given))
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(directory)
    return directory


_QWEN3_VISION = {
    "depth": 2,
    "hidden_size": 32,
    "out_hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "num_position_embeddings": 64,
}


def _engine() -> Any:
    mend_torchvision()
    import colpali_engine.models

    return colpali_engine.models


def _save(directory: Path, model_class: Any, config: Any, processor: Any) -> Path:
    torch.manual_seed(0)
    model = model_class(config)
    for name, weight in model.named_parameters():
        if name.endswith("mm_input_projection_weight"):  # zeros in a new Gemma 3, which then sees nothing
            torch.nn.init.normal_(weight)
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


def _qwen_processor(processor_class: Any, patch: int) -> Any:
    from transformers import Qwen2VLImageProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

    tile = 2 * patch
    size = {"shortest_edge": 4 * tile * tile, "longest_edge": 64 * tile * tile}
    video = Qwen2VLVideoProcessor() if patch == 14 else Qwen3VLVideoProcessor()
    tokenizer = letter_tokenizer(QWEN_TOKENS, "<|endoftext|>")
    return processor_class(Qwen2VLImageProcessor(size=size, patch_size=patch), tokenizer, video)


def _qwen_text(processor: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    return {**TEXT, "vocab_size": len(processor.tokenizer), "rope_parameters": rope}


def _idefics_processor(processor_class: Any) -> Any:
    from transformers import Idefics3ImageProcessor

    image_processor = Idefics3ImageProcessor(size={"longest_edge": 256}, max_image_size={"longest_edge": 64})
    return processor_class(image_processor, letter_tokenizer(IDEFICS_TOKENS, "<pad>"), image_seq_len=16)
