"""SigLIP and SigLIP 2: two towers trained to say of each pair by itself whether it fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from docrag.encode.checkpoints.checkpoint import Checkpoint
from docrag.encode.models.contrastive import (
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
from docrag.encode.options import EncoderOptions, refuse_knobs
from docrag.errors import ModelUnavailable

if TYPE_CHECKING:
    from PIL.Image import Image

TEXT = "padded to the full length, no mask"
TOKENIZER_TYPES = {"GemmaTokenizer": "siglip2", "GemmaTokenizerFast": "siglip2"}
"""SigLIP 2 was trained on lower case, but its checkpoints name a tokenizer that keeps capitals."""


def open_siglip(checkpoint: Checkpoint, options: EncoderOptions) -> TwoTowerEncoder:
    """An encoder of a SigLIP or SigLIP 2 checkpoint; weights are loaded when needed.

    SigLIP 2 of free resolution (naflex) takes `options.max_patches`; the others take no such option.

    Raises:
        SettingsError: The options ask for a resolution that the model cannot have.
        ModelUnavailable: Its configuration cannot be read, or its tokenizer's package is missing.
    """
    config = read_config(checkpoint)
    tokenizer_type = _tokenizer_type(checkpoint)
    naflex = config.model_type == "siglip2"
    side = _naflex_side(checkpoint, config, options) if naflex else side_of(config.vision_config.image_size)
    if not naflex:
        refuse_resolution(checkpoint, options, side)
    recipe = Recipe(
        model_class="Siglip2Model" if naflex else "SiglipModel",
        image_inputs=_naflex_inputs(config, options) if naflex else pixel_inputs,
        text_inputs=_text_inputs(config.text_config.max_position_embeddings),
        probabilities=_probabilities,
        tokenizer_type=tokenizer_type,
    )
    spec = single_spec(
        checkpoint,
        options,
        family=config.model_type,
        dim=config.vision_config.hidden_size,
        image_side=side,
        recipe=TEXT,
    )
    return TwoTowerEncoder(spec, lambda: ContrastiveModel(checkpoint, recipe, options), options)


def _tokenizer_type(checkpoint: Checkpoint) -> str | None:
    """Which tokenizer reads the checkpoint's files; None for the one that it names.

    Raises:
        ModelUnavailable: The tokenizer of the first SigLIP needs sentencepiece, which is missing.
    """
    named = str((checkpoint.json("tokenizer_config.json") or {}).get("tokenizer_class", ""))
    if named == "SiglipTokenizer" and not find_spec("sentencepiece"):
        raise ModelUnavailable(
            f"the tokenizer of {checkpoint.model} needs sentencepiece", "pip install sentencepiece protobuf"
        )
    return TOKENIZER_TYPES.get(named)


def _text_inputs(length: int) -> Any:
    """Texts as in training: all of one length, the padding seen, and so no attention mask."""

    def inputs(tokenizer: Any, texts: Sequence[str]) -> Inputs:
        padded = tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        return {"input_ids": padded["input_ids"]}

    return inputs


def _naflex_inputs(config: Any, options: EncoderOptions) -> Any:
    """Images in their own shape, cut into so many patches at most."""
    patches, side = _max_patches(config, options), config.vision_config.patch_size

    def inputs(processor: Any, images: Sequence[Image]) -> Inputs:
        made: Inputs = processor(
            images=list(images), max_num_patches=patches, patch_size=side, return_tensors="pt"
        )
        return {name: made[name] for name in ("pixel_values", "pixel_attention_mask", "spatial_shapes")}

    return inputs


def _naflex_side(checkpoint: Checkpoint, config: Any, options: EncoderOptions) -> int:
    """Pixels on the long side of a page twice as long as wide."""
    refuse_knobs(
        options,
        f"{checkpoint.model} sees pages in patches, not at a resolution",
        f"say --max-patches N instead; {config.vision_config.num_patches} is its own",
        takes=("max_patches",),
    )
    return side_of(config.vision_config.patch_size) * math.isqrt(2 * _max_patches(config, options))


def _max_patches(config: Any, options: EncoderOptions) -> int:
    return int(options.max_patches or config.vision_config.num_patches)


def _probabilities(cosines: Scores, scale: float, bias: float) -> Scores:
    """Of each text by itself, whatever the others are."""
    return np.asarray(np.exp(-np.logaddexp(0, -(cosines * scale + bias))), np.float32)
