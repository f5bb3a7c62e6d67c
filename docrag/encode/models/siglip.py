"""SigLIP and SigLIP 2: two towers trained to judge each pair of image and text independently."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from docrag.encode.base import CheckpointCard, EncoderOptions, Family, refuse_vision_options
from docrag.encode.checkpoints.checkpoint import Checkpoint
from docrag.encode.models.contrastive import (
    LIBRARY,
    WHY,
    ContrastiveModel,
    Inputs,
    Recipe,
    Scores,
    pixel_inputs,
    read_config,
    refuse_resolution,
    side_of,
    single_spec,
)
from docrag.encode.models.towers import TwoTowerEncoder
from docrag.errors import ModelUnavailable

if TYPE_CHECKING:
    from PIL.Image import Image

RECIPE = "padded to the full length, no mask"
TOKENIZER_TYPES = {"GemmaTokenizer": "siglip2", "GemmaTokenizerFast": "siglip2"}
"""SigLIP 2 was trained on lower case, but its checkpoints name a tokenizer that keeps capitals."""


def open_siglip(checkpoint: Checkpoint, options: EncoderOptions) -> TwoTowerEncoder:
    """An encoder of a SigLIP or SigLIP 2 checkpoint; weights are loaded when they are needed.

    SigLIP 2 of any resolution (naflex) takes `options.max_patches`; the others take no such option.

    Raises:
        SettingsError: The options ask for a resolution that the model cannot have.
        ModelUnavailable: Its configuration cannot be read, or the package of its tokenizer is missing.
    """
    config = read_config(checkpoint)
    tokenizer_type = _tokenizer_type(checkpoint)
    is_naflex = config.model_type == "siglip2"
    if is_naflex:
        side = _naflex_side(checkpoint, config, options)
    else:
        side = side_of(config.vision_config.image_size)
        refuse_resolution(checkpoint, options, side)
    recipe = Recipe(
        model_class="Siglip2Model" if is_naflex else "SiglipModel",
        image_inputs=_naflex_inputs(config, options) if is_naflex else pixel_inputs,
        text_inputs=_text_inputs(config.text_config.max_position_embeddings),
        probabilities=_probabilities,
        tokenizer_type=tokenizer_type,
        flash_attention=not is_naflex,  # transformers has none for Siglip2Model
    )
    spec = single_spec(
        checkpoint,
        options,
        family=config.model_type,
        dim=config.vision_config.hidden_size,
        image_side=side,
        recipe=RECIPE,
    )
    return TwoTowerEncoder(spec, lambda: ContrastiveModel(checkpoint, recipe, options), options)


FAMILY = Family(
    library=LIBRARY,
    why=WHY,
    opens=open_siglip,
    reads="SiglipModel of transformers",
    architectures=("SiglipModel", "Siglip2Model"),
    model_types=("siglip", "siglip2"),
    wrapped=True,
    checkpoints={
        "siglip-base-224": CheckpointCard("image", "google/siglip-base-patch16-224", "Apache-2.0", 768),
        "siglip2-base-224": CheckpointCard("image", "google/siglip2-base-patch16-224", "Apache-2.0", 768),
        "siglip2-base-512": CheckpointCard("image", "google/siglip2-base-patch16-512", "Apache-2.0", 768),
        "siglip2-so400m-384": CheckpointCard(
            "image", "google/siglip2-so400m-patch14-384", "Apache-2.0", 1152
        ),
        "siglip2-base-naflex": CheckpointCard(
            "image", "google/siglip2-base-patch16-naflex", "Apache-2.0", 768
        ),
    },
)


def _tokenizer_type(checkpoint: Checkpoint) -> str | None:
    """The tokenizer that reads the checkpoint's files; None for the one that it names.

    Raises:
        ModelUnavailable: The tokenizer of the first SigLIP needs sentencepiece, which is missing.
    """
    config = checkpoint.json("tokenizer_config.json") or {}
    tokenizer_class = str(config.get("tokenizer_class", ""))
    if tokenizer_class == "SiglipTokenizer" and not find_spec("sentencepiece"):
        raise ModelUnavailable(
            f"the tokenizer of {checkpoint.model} needs sentencepiece", "pip install sentencepiece protobuf"
        )
    return TOKENIZER_TYPES.get(tokenizer_class)


def _text_inputs(length: int) -> Callable[[Any, Sequence[str]], Inputs]:
    """Texts as in training: all padded to one length, and the padding is seen, so there is no mask."""

    def text_inputs(tokenizer: Any, texts: Sequence[str]) -> Inputs:
        padded = tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        return {"input_ids": padded["input_ids"]}

    return text_inputs


def _naflex_inputs(config: Any, options: EncoderOptions) -> Callable[[Any, Sequence[Image]], Inputs]:
    """Images in their own shape, cut into a limited number of patches."""
    max_patches = _max_patches(config, options)
    patch_size = config.vision_config.patch_size

    def image_inputs(processor: Any, images: Sequence[Image]) -> Inputs:
        inputs: Inputs = processor(
            images=list(images), max_num_patches=max_patches, patch_size=patch_size, return_tensors="pt"
        )
        return {name: inputs[name] for name in ("pixel_values", "pixel_attention_mask", "spatial_shapes")}

    return image_inputs


def _naflex_side(checkpoint: Checkpoint, config: Any, options: EncoderOptions) -> int:
    """Pixels on the long side of a page that is twice as long as wide."""
    refuse_vision_options(
        options,
        f"{checkpoint.model} sees pages in patches, not at a resolution",
        f"use --max-patches N instead; its own is {config.vision_config.num_patches}",
        supported=("max_patches",),
    )
    return side_of(config.vision_config.patch_size) * math.isqrt(2 * _max_patches(config, options))


def _max_patches(config: Any, options: EncoderOptions) -> int:
    return int(options.max_patches or config.vision_config.num_patches)


def _probabilities(cosines: Scores, scale: float, bias: float) -> Scores:
    """The probability of each text by itself, whatever the others are."""
    return np.asarray(np.exp(-np.logaddexp(0, -(cosines * scale + bias))), np.float32)
