"""CLIP: images and texts in one space, from transformers or from a directory of sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from docrag.encode.checkpoints.checkpoint import Checkpoint, locate
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
from docrag.encode.options import EncoderOptions
from docrag.encode.vectors.norms import softmax
from docrag.errors import WeightsMismatch

READ_HERE = ("CLIPModel", "Transformer", "Normalize")
"""Modules of sentence-transformers that add nothing to CLIP itself but the length of vectors."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of a checkpoint lie."""

    weights: Checkpoint
    processors: Checkpoint
    max_seq_length: int | None
    """Tokens of a text that are read, where the checkpoint says so."""


def open_clip(checkpoint: Checkpoint, options: EncoderOptions) -> TwoTowerEncoder:
    """An encoder of a CLIP checkpoint of either library; weights are loaded when needed.

    Raises:
        SettingsError: The options ask for another resolution than the model has.
        WeightsMismatch: The directory adds layers to CLIP that are not CLIP's.
        ModelUnavailable: Its configuration cannot be read.
    """
    layout = find_layout(checkpoint)
    config = read_config(layout.weights)
    side = side_of(config.vision_config.image_size)
    refuse_resolution(checkpoint, options, side)
    limit = config.text_config.max_position_embeddings
    tokens = min(layout.max_seq_length or limit, limit)
    spec = single_spec(
        checkpoint, options, family="clip", dim=config.projection_dim, image_side=side, recipe=""
    )
    if layout.processors.path != layout.weights.path:
        both = f"{checkpoint.digest} {layout.processors.digest}"
        spec = replace(spec, digest=sha256(both.encode()).hexdigest())
    return TwoTowerEncoder(
        spec,
        lambda: ContrastiveModel(layout.weights, clip_recipe(tokens), options, layout.processors),
        options,
    )


def clip_recipe(max_tokens: int) -> Recipe:
    """How CLIP reads images, and texts of so many tokens at most."""

    def text_inputs(tokenizer: Any, texts: Sequence[str]) -> Inputs:
        most = min(max_tokens, tokenizer.model_max_length)
        inputs: Inputs = tokenizer(
            list(texts), padding=True, truncation=True, max_length=most, return_tensors="pt"
        )
        return {name: inputs[name] for name in ("input_ids", "attention_mask")}

    return Recipe("CLIPModel", pixel_inputs, text_inputs, _probabilities)


def find_layout(checkpoint: Checkpoint) -> Layout:
    """Where the weights and processors of a checkpoint lie.

    sentence-transformers keeps CLIP in the root or, in earlier versions, in 0_CLIPModel, with its own
    settings beside it.

    Raises:
        WeightsMismatch: There are layers after CLIP.
    """
    modules = checkpoint.json("modules.json") or []
    others = [str(module["type"]) for module in modules if not str(module["type"]).endswith(READ_HERE)]
    if others:
        raise WeightsMismatch(
            f"{checkpoint.model} has more than CLIP: {', '.join(others)}",
            "docrag reads CLIP alone, or as IMAGE+TEXT with a text model of sentence-transformers",
        )
    folder = checkpoint.path / (modules[0]["path"] if modules else "")
    weights = replace(checkpoint, path=folder)
    settings = weights.json("sentence_bert_config.json") or {}
    named = settings.get("processor_name")
    return Layout(weights, locate(named) if named else weights, settings.get("max_seq_length"))


def _probabilities(cosines: Scores, scale: float, bias: float) -> Scores:
    """Of each text, given that one of them is right; CLIP has no bias."""
    return softmax(cosines * scale + bias)
