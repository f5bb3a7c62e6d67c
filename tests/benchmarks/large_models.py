"""Models of the sizes that a GPU is bought for, with random weights; they are built on the GPU, in bfloat16.

Shapes are those of the checkpoints that people use; tokenizers are those of the tests, of a token a letter.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from docrag.encode.checkpoints.torchvision import mend_torchvision
from tests.checkpoints.colpali import GEMMA_TOKENS, IDEFICS_TOKENS, QWEN_IDS, QWEN_TOKENS
from tests.checkpoints.tokens import letter_tokenizer

SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}


def build(model: str, directory: Path, device: str) -> None:
    """Save a model with random weights, whole or not at all."""
    mend_torchvision()
    draft = directory.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    torch.manual_seed(0)
    BUILDERS[model](draft, device)
    draft.rename(directory)


def loop(model: str, directory: Path, device: str) -> Callable[[Sequence[Any]], list[torch.Tensor]]:
    """What the library's own page shows: one batch of pictures through processor and model, one at a time."""
    mend_torchvision()
    library, processor_class = LIBRARIES[model]
    if library in ("CLIPModel", "SiglipModel"):
        import transformers as home
    else:
        import colpali_engine.models as home
    loaded = getattr(home, library).from_pretrained(directory, dtype=torch.bfloat16, device_map=device).eval()
    processor = getattr(home, processor_class).from_pretrained(directory)

    def late(images: Sequence[Any]) -> list[torch.Tensor]:
        inputs = processor.process_images(list(images)).to(loaded.device)
        with torch.no_grad():
            found = loaded(**inputs)
        return list(torch.unbind(found.to("cpu")))

    def single(images: Sequence[Any]) -> list[torch.Tensor]:
        inputs = processor(images=list(images), return_tensors="pt").to(loaded.device, torch.bfloat16)
        with torch.no_grad():
            found = loaded.get_image_features(**inputs).pooler_output
        return list(torch.unbind(found.to("cpu")))

    return single if library in ("CLIPModel", "SiglipModel") else late


def build_colqwen25(directory: Path, device: str) -> None:
    """vidore/colqwen2.5-v0.2 with its adapter merged: Qwen2.5-VL-3B, 768 patches a page at most."""
    from colpali_engine.models import ColQwen2_5, ColQwen2_5_Processor
    from transformers import Qwen2_5_VLConfig, Qwen2VLImageProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    size = {"shortest_edge": 4 * 28 * 28, "longest_edge": 768 * 28 * 28}
    processor = ColQwen2_5_Processor(
        Qwen2VLImageProcessor(size=size, patch_size=14),
        letter_tokenizer(QWEN_TOKENS, "<|endoftext|>"),
        Qwen2VLVideoProcessor(),
    )
    text = {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "vocab_size": 151936}
    text |= {"num_attention_heads": 16, "num_key_value_heads": 2, "max_position_embeddings": 32768}
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
    vision |= {"out_hidden_size": 2048, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31]}
    config = Qwen2_5_VLConfig(text_config={**text, "rope_parameters": rope}, vision_config=vision, **QWEN_IDS)
    _save(directory, device, lambda: ColQwen2_5(config), processor)


def build_colpali(directory: Path, device: str) -> None:
    """vidore/colpali-v1.3 with its adapter merged: PaliGemma-3B at 448 pixels, 1,024 patches."""
    from colpali_engine.models import ColPali, ColPaliProcessor
    from transformers import PaliGemmaConfig, SiglipImageProcessor

    tokenizer = letter_tokenizer(GEMMA_TOKENS, "<pad>", bos_token="<bos>", eos_token="<eos>")
    images = SiglipImageProcessor(size={"height": 448, "width": 448})
    images.image_seq_length = 1024
    text = {"model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18}
    text |= {"num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 257216}
    config = PaliGemmaConfig(
        text_config={**text, "pad_token_id": 0},
        vision_config={**SO400M, "image_size": 448, "patch_size": 14, "projection_dim": 2048},
        image_token_index=GEMMA_TOKENS.index("<image>"),
        projection_dim=2048,
        hidden_size=2048,
    )
    _save(directory, device, lambda: ColPali(config), ColPaliProcessor(images, tokenizer))


def build_colmodernvbert(directory: Path, device: str) -> None:
    """ModernVBERT/colmodernvbert: SigLIP 2 base on tiles of 512 pixels, Ettin-150M."""
    from colpali_engine.models import ColModernVBert, ColModernVBertProcessor
    from transformers import Idefics3ImageProcessor, ModernVBertConfig

    images = Idefics3ImageProcessor(size={"longest_edge": 2048}, max_image_size={"longest_edge": 512})
    processor = ColModernVBertProcessor(images, letter_tokenizer(IDEFICS_TOKENS, "<pad>"), image_seq_len=64)
    special = dict.fromkeys(
        ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0
    )
    text = {"hidden_size": 768, "intermediate_size": 1152, "num_hidden_layers": 22, "num_attention_heads": 12}
    config = ModernVBertConfig(
        text_config={**text, **special, "vocab_size": 50368, "max_position_embeddings": 8192},
        vision_config={**BASE, "image_size": 512, "patch_size": 16},
        image_token_id=processor.image_token_id,
        pixel_shuffle_factor=4,
    )
    _save(directory, device, lambda: ColModernVBert(config), processor)


def build_clip(directory: Path, device: str) -> None:
    """openai/clip-vit-large-patch14."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    from tests.checkpoints.clip import save_clip

    save_clip(directory)  # for its tokenizer
    tokenizer = CLIPProcessor.from_pretrained(directory).tokenizer
    large = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
    config = CLIPConfig(
        vision_config={**large, "num_attention_heads": 16, "patch_size": 14, "projection_dim": 768},
        text_config={**BASE, "projection_dim": 768},
        projection_dim=768,
    )
    _save(directory, device, lambda: CLIPModel(config), CLIPProcessor(CLIPImageProcessor(), tokenizer))


def build_siglip2(directory: Path, device: str) -> None:
    """google/siglip2-so400m-patch14-384."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

    from tests.checkpoints.siglip import gemma_tokenizer

    config = SiglipConfig(
        text_config={**SO400M, "vocab_size": 256000, "max_position_embeddings": 64},
        vision_config={**SO400M, "image_size": 384, "patch_size": 14},
    )
    images = SiglipImageProcessor(size={"height": 384, "width": 384})
    _save(directory, device, lambda: SiglipModel(config), SiglipProcessor(images, gemma_tokenizer()))


def _save(directory: Path, device: str, make: Callable[[], Any], processor: Any) -> None:
    with _bfloat16(), torch.device(device):
        model = make()
    model.save_pretrained(directory)
    processor.save_pretrained(directory)


@contextmanager
def _bfloat16() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


BUILDERS: dict[str, Callable[[Path, str], None]] = {
    "colqwen2.5-3b": build_colqwen25,
    "colpali-3b": build_colpali,
    "colmodernvbert": build_colmodernvbert,
    "clip-l14": build_clip,
    "siglip2-so400m": build_siglip2,
}
LIBRARIES = {
    "colqwen2.5-3b": ("ColQwen2_5", "ColQwen2_5_Processor"),
    "colpali-3b": ("ColPali", "ColPaliProcessor"),
    "colmodernvbert": ("ColModernVBert", "ColModernVBertProcessor"),
    "clip-l14": ("CLIPModel", "CLIPProcessor"),
    "siglip2-so400m": ("SiglipModel", "SiglipProcessor"),
}
"""Classes of the model and its processor."""
MODELS = list(BUILDERS)
