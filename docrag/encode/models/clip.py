"""CLIP: images and texts in one space, from transformers or from a directory of sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from docrag.encode.base import CheckpointCard, EncoderOptions, Family
from docrag.encode.checkpoints.checkpoint import Checkpoint, locate
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
from docrag.encode.vectors.norms import softmax
from docrag.errors import WeightsMismatch

SUPPORTED_MODULES = ("CLIPModel", "Transformer", "Normalize")
"""Modules of sentence-transformers that add nothing to CLIP itself except the length of its vectors."""


@dataclass(frozen=True, slots=True)
class ClipFormat:
    """Where the parts of a checkpoint are."""

    weights: Checkpoint
    processors: Checkpoint
    max_seq_length: int | None
    """The most tokens of a text that are read, if the checkpoint states it."""


def open_clip(checkpoint: Checkpoint, options: EncoderOptions) -> TwoTowerEncoder:
    """An encoder of a CLIP checkpoint of either library; weights are loaded when they are needed.

    Raises:
        SettingsError: The options ask for another resolution than the model has.
        WeightsMismatch: The directory adds layers to CLIP that are not CLIP's.
        ModelUnavailable: Its configuration cannot be read.
    """
    parts = find_format(checkpoint)
    config = read_config(parts.weights)
    side = side_of(config.vision_config.image_size)
    refuse_resolution(checkpoint, options, side)
    limit = config.text_config.max_position_embeddings
    recipe = clip_recipe(max_tokens=min(parts.max_seq_length or limit, limit))
    spec = single_spec(
        checkpoint, options, family="clip", dim=config.projection_dim, image_side=side, recipe=""
    )
    if parts.processors.path != parts.weights.path:
        both_digests = f"{checkpoint.digest} {parts.processors.digest}"
        spec = replace(spec, digest=sha256(both_digests.encode()).hexdigest())
    return TwoTowerEncoder(
        spec, lambda: ContrastiveModel(parts.weights, recipe, options, parts.processors), options
    )


FAMILY = Family(
    library=LIBRARY,
    why=WHY,
    opens=open_clip,
    reads="CLIPModel of transformers",
    architectures=("CLIPModel",),
    model_types=("clip",),
    modules=("CLIPModel",),
    wrapped=True,
    checkpoints={
        "clip-vit-b-32": CheckpointCard("image", "openai/clip-vit-base-patch32", "MIT", 512),
        "clip-vit-l-14": CheckpointCard("image", "openai/clip-vit-large-patch14", "MIT", 768),
        "clip-multilingual": CheckpointCard(
            "image",
            "sentence-transformers/clip-ViT-B-32+sentence-transformers/clip-ViT-B-32-multilingual-v1",
            "MIT and Apache-2.0",
            512,
        ),
    },
)


def clip_recipe(max_tokens: int) -> Recipe:
    """How CLIP reads images, and texts of at most so many tokens."""

    def text_inputs(tokenizer: Any, texts: Sequence[str]) -> Inputs:
        max_length = min(max_tokens, tokenizer.model_max_length)
        inputs: Inputs = tokenizer(
            list(texts), padding=True, truncation=True, max_length=max_length, return_tensors="pt"
        )
        return {name: inputs[name] for name in ("input_ids", "attention_mask")}

    return Recipe("CLIPModel", pixel_inputs, text_inputs, _probabilities)


def find_format(checkpoint: Checkpoint) -> ClipFormat:
    """Where the weights and processors of a checkpoint are.

    sentence-transformers keeps CLIP in the root directory or, in earlier versions, in 0_CLIPModel, with its
    own settings beside it.

    Raises:
        WeightsMismatch: There are layers after CLIP.
    """
    modules = checkpoint.json("modules.json") or []
    types = [str(module["type"]) for module in modules]
    unsupported = [name for name in types if not name.endswith(SUPPORTED_MODULES)]
    if unsupported:
        raise WeightsMismatch(
            f"{checkpoint.model} has more than CLIP: {', '.join(unsupported)}",
            "docrag reads CLIP alone, or as IMAGE+TEXT with a text model of sentence-transformers",
        )
    folder = checkpoint.path / (modules[0]["path"] if modules else "")
    weights = replace(checkpoint, path=folder)
    settings = weights.json("sentence_bert_config.json") or {}
    processor_name = settings.get("processor_name")
    processors = locate(processor_name) if processor_name else weights
    return ClipFormat(weights, processors, settings.get("max_seq_length"))


def _probabilities(cosines: Scores, scale: float, bias: float) -> Scores:
    """The probability of each text, given that one of them is right; CLIP has no bias."""
    return softmax(cosines * scale + bias)
